package upstream

import (
	"net"
	"net/netip"
)

// Sent is a question on its way to one server.
type Sent struct {
	Upstream  string
	Server    string // as in the configuration: tls://dns.example
	Scheme    string // of it
	Bootstrap bool   // the name is that of a server of the Upstream
	Name      string
	Type      uint16

	// Local and Remote are the ends of what it leaves by, of which the remote one
	// may be a node's, and Network is udp or tcp. They are not known of HTTPS.
	Local, Remote netip.AddrPort
	Network       string
}

// A Recorder is told of each question before it is sent, if it listens.
type Recorder interface {
	Listening() bool
	Sent(s Sent)
}

// connection is what a question leaves by.
type connection interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// told has a question recorded that is about to be sent by a connection, which
// may be nil. It costs nothing while nobody listens.
func (t *target) told(q Question, by connection) {
	if t.env.record == nil || !t.env.record.Listening() {
		return
	}
	s := Sent{
		Upstream: t.env.name, Server: t.name, Scheme: t.cfg.Scheme, Bootstrap: t.env.bootstrap,
		Name: q.Name, Type: q.Type,
	}
	if by != nil {
		local := by.LocalAddr() // which asks the kernel
		s.Local, s.Remote, s.Network = addrPort(local), addrPort(by.RemoteAddr()), local.Network()
	}
	t.env.record.Sent(s)
}

func addrPort(a net.Addr) netip.AddrPort {
	known, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	ap := known.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
