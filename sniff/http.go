package sniff

import (
	"bytes"

	"github.com/fairlead/fairlead/gateway/policy"
)

// maxHead bounds what is read of a request's head. It is what most servers
// allow, and Host is among the first fields of every common client.
const maxHead = 8 << 10

// httpStream tells HTTP/1 by a request line, and its name by the target or
// the first Host field. It does not wait for the end of the head when the
// name is there: cookies may be longer than maxHead.
func httpStream(b []byte) (Result, error) {
	full := len(b) >= maxHead
	b = b[:min(len(b), maxHead)]

	method, err := requestMethod(b)
	if err != nil {
		return Result{}, err
	}
	target, fields, err := requestTarget(b[len(method):])
	if err == ErrMore && full {
		return Result{}, errOther
	}
	if err != nil {
		return Result{}, err
	}
	host, ok := targetHost(method, target)
	if !ok {
		host, err = hostField(fields)
	}
	if err == ErrMore && !full {
		return Result{}, ErrMore
	}
	return Result{Protocol: policy.HTTP, Host: host}, nil
}

// requestMethod returns the method that b begins with, and the space after
// it. A list, not any token: many protocols begin with a word, and waiting for
// the rest of one would cost their clients the sniffer's deadline.
func requestMethod(b []byte) (string, error) {
	other := errOther
	for _, m := range [...]string{
		"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", // RFC 9110, 9.3
		"PATCH ",                                                                  // RFC 5789
		"PROPFIND ", "PROPPATCH ", "MKCOL ", "COPY ", "MOVE ", "LOCK ", "UNLOCK ", // RFC 4918
		"REPORT ", "SEARCH ", // RFC 3253, RFC 5323
	} {
		switch begins(b, m) {
		case nil:
			return m, nil
		case ErrMore:
			other = ErrMore
		}
	}
	return "", other
}

// requestTarget splits what follows the method into the request's target and
// the field lines, and checks the version: RTSP and SIP have methods in common
// with HTTP.
func requestTarget(b []byte) (target, fields []byte, err error) {
	end := bytes.IndexFunc(b, func(c rune) bool { return c < ' ' })
	if end < 0 {
		return nil, nil, ErrMore
	}
	line, rest := b[:end], b[end:]
	if err := begins(rest, "\r\n"); err != nil && rest[0] != '\n' { // RFC 9112, 2.2: a lone LF will do
		return nil, nil, err
	}
	_, fields, _ = bytes.Cut(rest, []byte("\n"))

	i := bytes.LastIndexByte(line, ' ')
	if i <= 0 || !isHTTP1(line[i+1:]) {
		return nil, nil, errOther
	}
	return line[:i], fields, nil
}

// isHTTP1 reports whether version is HTTP/1.0 or a later minor one.
func isHTTP1(version []byte) bool {
	const want = "HTTP/1."
	return len(version) == len(want)+1 && string(version[:len(want)]) == want &&
		'0' <= version[len(want)] && version[len(want)] <= '9'
}

// targetHost returns the host in a request target in absolute or authority
// form, which goes before any Host field: RFC 9112 sections 3.2.2 and 3.2.3.
// The other forms have none, and ok is false.
func targetHost(method string, target []byte) (host string, ok bool) {
	if method == "CONNECT " {
		return hostOf(target), true
	}
	scheme, authority, ok := bytes.Cut(target, []byte("://"))
	if !ok || bytes.ContainsAny(scheme, "/?#") {
		return "", false
	}
	if i := bytes.IndexAny(authority, "/?#"); i >= 0 {
		authority = authority[:i]
	}
	if i := bytes.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	return hostOf(authority), true
}

// hostField returns the host of the first Host field, and the empty host if
// the fields end without one.
func hostField(fields []byte) (string, error) {
	for {
		line, rest, ok := bytes.Cut(fields, []byte("\n"))
		if !ok {
			return "", ErrMore
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			return "", nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("host")) {
			return hostOf(bytes.Trim(value, " \t")), nil
		}
		fields = rest
	}
}
