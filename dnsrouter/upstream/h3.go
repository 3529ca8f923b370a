//go:build quic && !tiny

package upstream

import (
	"context"
	"crypto/tls"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// newH3 asks by HTTP/3, and by no other.
func newH3(t *target) *doh {
	config := t.tlsConfig()
	return newWeb(t, func(int) *session {
		web := &http3.Transport{
			TLSClientConfig: config, QUICConfig: t.quicConfig(), DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
			Dial: func(ctx context.Context, _ string, config *tls.Config, settings *quic.Config) (*quic.Conn, error) {
				return t.dialQUIC(ctx, config, settings)
			},
		}
		return &session{RoundTripper: web, end: web.CloseIdleConnections}
	})
}
