//go:build !quic || tiny

package upstream

// HasQUIC says whether this build can ask servers of schemes quic and h3. Only
// one with the build tag quic can: QUIC takes three megabytes.
const HasQUIC = false

func newQUIC(t *target) transport { return unknown(t.cfg.Scheme) }
