package route

import (
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kernel is asked about interfaces, addresses, routes and rules by messages of our
// own (rtnetlink(7)): a library that knows all kinds of interfaces and routes that
// Linux has takes a quarter of a megabyte of flash for them.
type kernel struct{ conn *netlink.Conn }

// errInterrupted is the error of an answer that a change meanwhile cut short.
var errInterrupted = errors.New("the kernel's answer was interrupted by a change")

func open() (kernel, error) { return dial(unix.NETLINK_ROUTE) }

func dial(protocol int) (kernel, error) {
	conn, err := netlink.Dial(protocol, nil)
	if err != nil {
		return kernel{}, fmt.Errorf("opening a netlink socket: %w", err)
	}
	return kernel{conn}, nil
}

// Close gives the socket back.
func (k kernel) Close() { k.conn.Close() }

// ask sends one request and gives the answers' data, with errInterrupted as much
// of it as there is.
func (k kernel) ask(kind netlink.HeaderType, flags netlink.HeaderFlags, data []byte) ([][]byte, error) {
	if err := k.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	messages, err := k.conn.Execute(netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request | flags}, Data: data})
	if err != nil {
		return nil, err
	}
	var answers [][]byte
	for _, m := range messages {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			err = errInterrupted
		}
		answers = append(answers, m.Data)
	}
	return answers, err
}

// dump lists what the kernel has of a kind. The request is a header of the kind's
// own, of which only the family counts; each answer begins with one, too. It is
// asked again if a change cut the answer short.
func dump[T any](k kernel, kind netlink.HeaderType, family byte, header int, parse func(header []byte, attrs *netlink.AttributeDecoder) (T, error)) ([]T, error) {
	request := make([]byte, header)
	request[0] = family
	for deadline := time.Now().Add(patience); ; {
		answers, err := k.ask(kind, netlink.Dump, request)
		if errors.Is(err, errInterrupted) && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return parseAll(answers, header, parse)
	}
}

func parseAll[T any](answers [][]byte, header int, parse func([]byte, *netlink.AttributeDecoder) (T, error)) ([]T, error) {
	var all []T
	for _, a := range answers {
		if len(a) < header {
			return nil, fmt.Errorf("the kernel's answer has %d bytes, want %d at least", len(a), header)
		}
		attrs, err := netlink.NewAttributeDecoder(a[header:])
		if err != nil {
			return nil, err
		}
		one, err := parse(a[:header], attrs)
		if err := errors.Join(err, attrs.Err()); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// isAbsent tells that the kernel has no IPv6, or that it is switched off.
func isAbsent(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES)
}
