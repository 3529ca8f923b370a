package gateway

import (
	"context"
	"errors"
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
