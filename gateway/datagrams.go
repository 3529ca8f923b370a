package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/fairlead/fairlead/sniff"
)

const (
	// maxHeld is how many datagrams a flow may hold before it is open: a
	// ClientHello over QUIC takes two to four.
	maxHeld = 16
	// undecided is how long the datagrams of a ClientHello may take to come.
	undecided = 200 * time.Millisecond
)

// datagrams are those that came before their flow was open, in order.
type datagrams struct {
	all   [][]byte
	bytes int
	more  chan struct{} // has a token when there are new ones
}

func (d *datagrams) add(payload []byte, most int) {
	if len(d.all) >= maxHeld || d.bytes+len(payload) > most {
		return // lost, as in any full queue; the client sends it again
	}
	d.all = append(d.all, append([]byte(nil), payload...))
	d.bytes += len(payload)
	select {
	case d.more <- struct{}{}:
	default:
	}
}

func size(payloads [][]byte) (bytes int64) {
	for _, p := range payloads {
		bytes += int64(len(p))
	}
	return bytes
}

// sendingTo sends through a shared mapping to one peer, several datagrams at
// once where the mapping can do that.
func sendingTo(conn PacketConn, peer netip.AddrPort) func([][]byte) error {
	if at, ok := conn.(interface {
		WriteAllTo(payloads [][]byte, to netip.AddrPort) error
	}); ok {
		return func(payloads [][]byte) error { return at.WriteAllTo(payloads, peer) }
	}
	return eachOf(func(b []byte) error { _, err := conn.WriteToUDPAddrPort(b, peer); return err })
}

// sending is the same for a mapping with one peer.
func sending(conn net.Conn) func([][]byte) error {
	if at, ok := conn.(interface{ WriteAll(payloads [][]byte) error }); ok {
		return at.WriteAll
	}
	return eachOf(func(b []byte) error { _, err := conn.Write(b); return err })
}

// eachOf sends one datagram after the other. One that is refused does not keep
// back those behind it.
func eachOf(send func([]byte) error) func([][]byte) error {
	return func(payloads [][]byte) (err error) {
		for _, p := range payloads {
			if failed := send(p); failed != nil {
				err = failed
			}
		}
		return err
	}
}

// sniff reads the first datagrams until they tell what they are, or too many,
// or too late.
func (f *udpFlow) sniff(ctx context.Context) sniff.Result {
	timeout := time.NewTimer(undecided)
	defer timeout.Stop()
	var quic sniff.QUIC
	var told sniff.Result // so far
	for n := 0; n < maxHeld; {
		f.mu.Lock()
		got := f.waiting.all[min(n, len(f.waiting.all)):]
		more := f.waiting.more
		f.mu.Unlock()
		for _, d := range got {
			if n == 0 && !sniff.IsQUIC(d) {
				return sniff.Datagram(d)
			}
			n++
			result, err := quic.Add(d)
			if told = result; !errors.Is(err, sniff.ErrMore) {
				return told
			}
		}
		select {
		case <-more:
		case <-timeout.C:
			return told
		case <-ctx.Done():
			return told
		}
	}
	return told
}
