package gateway

import (
	"context"
	"net/netip"
)

// deliver is deliverRun of a single datagram.
func (s *sessions) deliver(ctx context.Context, payload []byte, client, dialled netip.AddrPort) {
	s.deliverRun(ctx, [][]byte{payload}, client, dialled)
}
