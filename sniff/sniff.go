// Package sniff tells the protocol of a flow, and the name it is for, from the
// first bytes that its client sends. It sees bytes only, no sockets and no
// clocks: how long to wait for more is its caller's matter.
//
// A name that was sniffed is what the client says. Nothing here proves it.
package sniff

import (
	"errors"

	"github.com/fairlead/fairlead/gateway/policy"
)

// ErrMore says that the bytes so far are the beginning of something, and that
// only more of them can tell what.
var ErrMore = errors.New("more bytes are needed")

// errOther is what a sniffer for one protocol says to the bytes of another,
// and to malformed ones of its own.
var errOther = errors.New("another protocol")

// MaxStream is the number of bytes beyond which Stream never answers ErrMore:
// a ClientHello of maxHello bytes and the headers of its records. A hello in
// absurdly small records may need more and stays unknown.
const MaxStream = maxHello + 1<<10

// Result is what the first bytes of a flow tell. The zero Result is the answer
// for everything that is not known: server-first, encrypted, malformed.
type Result struct {
	Protocol policy.Protocol

	// Host is the name the client asks for: lower-case ASCII without trailing
	// dot or port. It is empty where there is none, and where what is there is
	// an IP address or no host name. The name in a DNS question is not a Host.
	Host string

	// ECH is set if a ClientHello carries an outer Encrypted Client Hello
	// extension. Host is then perhaps only the provider's public name. Chrome
	// and others send random bytes in that extension (GREASE) to every server
	// they have no ECH keys of, and nobody between client and server can tell
	// those apart: ECH alone says nothing about Host being the wrong name.
	ECH bool
}

// Stream tells the protocol and name from the first bytes of a TCP flow. It
// returns ErrMore and the zero Result as long as a longer prefix could tell
// more, and never once there are MaxStream bytes. Without an error the Result
// is final, the unknown one too: no longer prefix has another. There are no
// other errors. A call costs time in proportion to len(b), so it belongs behind
// each read, not each byte. b is neither kept nor changed.
func Stream(b []byte) (Result, error) {
	full := len(b) >= MaxStream
	b = b[:min(len(b), MaxStream)]

	// No two sniffers want more of the same bytes and then both accept, so
	// their order does not matter.
	more := false
	for _, sniff := range [...]func([]byte) (Result, error){tlsStream, httpStream, magicStream, dnsStream} {
		res, err := sniff(b)
		if err == nil {
			return res, nil
		}
		more = more || err == ErrMore
	}
	if more && !full {
		return Result{}, ErrMore
	}
	return Result{}, nil
}

// magicStream tells the protocols whose clients always begin with the same bytes.
func magicStream(b []byte) (Result, error) {
	for _, p := range [...]struct {
		magic    string
		protocol policy.Protocol
	}{
		{"SSH-", policy.SSH},                              // RFC 4253, 4.2
		{"\x13BitTorrent protocol", policy.BitTorrent},    // BEP 3
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", policy.HTTP}, // RFC 9113, 3.4: HTTP/2 by prior knowledge, the name is in HPACK
	} {
		if err := begins(b, p.magic); err != errOther {
			return Result{Protocol: p.protocol}, err
		}
	}
	return Result{}, errOther
}

// begins returns nil if b begins with magic, ErrMore if it may still come to,
// and errOther if not.
func begins(b []byte, magic string) error {
	n := min(len(b), len(magic))
	switch {
	case string(b[:n]) != magic[:n]:
		return errOther
	case n < len(magic):
		return ErrMore
	}
	return nil
}
