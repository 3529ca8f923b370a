package sniff

import (
	"slices"

	"github.com/fairlead/fairlead/gateway/policy"
)

// maxHello bounds a ClientHello with its handshake header. TLS itself allows
// 16 MiB; Go's, with a post-quantum share, has 1.5 KiB.
const maxHello = 16 << 10

// The parts of TLS that are looked at: RFC 8446 sections 4, 4.2 and 5.1,
// RFC 6066 section 3, RFC 9849 section 5.
const (
	maxFragment        = 1 << 14
	recordHeader       = 5
	recordHandshake    = 22
	messageHeader      = 4
	messageClientHello = 1
	extServerName      = 0
	serverNameHost     = 0
	extECH             = 0xfe0d
	echOuter           = 0
)

// tlsStream tells TLS by a whole ClientHello.
func tlsStream(b []byte) (Result, error) {
	body, err := helloInRecords(b)
	if err != nil {
		return Result{}, err
	}
	hello, ok := parseHello(body)
	if !ok {
		return Result{}, errOther
	}
	return Result{Protocol: policy.TLS, Host: hello.host, ECH: hello.ech}, nil
}

// helloInRecords returns the body of the ClientHello that the records in b
// begin with. Only one that is spread over several records is copied.
func helloInRecords(b []byte) ([]byte, error) {
	var message []byte
	for {
		fragment, rest, err := firstRecord(b)
		if err != nil {
			return nil, err
		}
		if message == nil {
			message = slices.Clip(fragment)
		} else {
			message = append(message, fragment...)
		}
		if body, err := helloMessage(message); err != ErrMore {
			return body, err
		}
		b = rest
	}
}

// firstRecord splits the first handshake record off b. A fragment that is cut
// off comes as far as it is there, and rest is then empty.
func firstRecord(b []byte) (fragment, rest []byte, err error) {
	// The minor version is whatever the client's ancestors wrote there.
	if err := begins(b[:min(len(b), 2)], string([]byte{recordHandshake, 3})); err != nil {
		return nil, nil, err
	}
	if len(b) < recordHeader {
		return nil, nil, ErrMore
	}
	n := int(b[3])<<8 | int(b[4])
	if n == 0 || n > maxFragment {
		return nil, nil, errOther
	}
	b = b[recordHeader:]
	n = min(n, len(b))
	return b[:n], b[n:], nil
}

// helloMessage returns the body of the ClientHello that b, a stream of
// handshake messages, begins with.
func helloMessage(b []byte) ([]byte, error) {
	switch {
	case len(b) > 0 && b[0] != messageClientHello:
		return nil, errOther
	case len(b) < messageHeader:
		return nil, ErrMore
	}
	n := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	switch {
	case messageHeader+n > maxHello:
		return nil, errOther
	case len(b) < messageHeader+n:
		return nil, ErrMore
	}
	return b[messageHeader : messageHeader+n], nil
}

// clientHello is what is of interest in a ClientHello.
type clientHello struct {
	host string
	ech  bool
}

// parseHello reads the body of a ClientHello, RFC 8446 section 4.1.2, and
// reports whether it is well-formed.
func parseHello(body []byte) (clientHello, bool) {
	r := reader{b: body}
	r.bytes(2)  // legacy_version
	r.bytes(32) // random
	session := r.vector(1)
	suites := r.vector(2)
	compression := r.vector(1)
	if r.bad || len(session) > 32 || len(suites) < 2 || len(suites)%2 != 0 || len(compression) == 0 {
		return clientHello{}, false
	}
	if len(r.b) == 0 { // before TLS 1.3, extensions may be absent altogether
		return clientHello{}, true
	}
	extensions := reader{b: r.vector(2)}
	if !r.end() {
		return clientHello{}, false
	}
	return parseExtensions(extensions)
}

// parseExtensions reads the extensions of a ClientHello. Of a name that is
// given twice, which is forbidden, the first is taken.
func parseExtensions(r reader) (clientHello, bool) {
	var hello clientHello
	var named bool
	for len(r.b) > 0 {
		kind, data := r.uint(2), r.vector(2)
		switch {
		case kind == extServerName && !named:
			name, ok := parseServerName(data)
			if !ok {
				return clientHello{}, false
			}
			hello.host, named = hostName(name), true
		case kind == extECH && len(data) > 0 && data[0] == echOuter:
			hello.ech = true
		}
	}
	if !r.end() {
		return clientHello{}, false
	}
	return hello, true
}

// parseServerName returns the host name of a server_name extension as it is
// written there, and nil if it has only names of other types.
func parseServerName(data []byte) (name []byte, ok bool) {
	r := reader{b: data}
	list := reader{b: r.vector(2)}
	for len(list.b) > 0 {
		kind, value := list.uint(1), list.vector(2)
		if kind == serverNameHost && name == nil {
			name = value
		}
	}
	return name, r.end() && list.end()
}
