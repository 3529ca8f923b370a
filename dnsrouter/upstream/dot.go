package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// sessions is how many TLS sessions of one server are kept to be resumed.
const sessions = 4

// newDoT asks over TLS (RFC 7858). The certificate must be for the server's name,
// or for its address if it has none.
func newDoT(t *target) *kept {
	config := t.tlsConfig()
	config.NextProtos = []string{"dot"}
	k := newKept(t, func(ctx context.Context) (net.Conn, error) {
		return t.dialTLS(ctx, config)
	})
	k.pad = true
	return k
}

func (t *target) tlsConfig() *tls.Config {
	config := &tls.Config{}
	if t.env.tls != nil {
		config = t.env.tls.Clone()
	}
	config.ServerName = t.cfg.Host
	if config.ServerName == "" {
		config.ServerName = t.cfg.Addr.Addr().String()
	}
	config.ClientSessionCache = tls.NewLRUClientSessionCache(sessions)
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	return config
}

func (t *target) dialTLS(ctx context.Context, config *tls.Config) (net.Conn, error) {
	raw, err := t.dialTCP(ctx)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("greeting by TLS: %w", err)
	}
	return conn, nil
}
