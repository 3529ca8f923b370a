package dnsrouter

import (
	"net/netip"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// Config is what the DNS server is told, beside the policy and the upstreams.
type Config struct {
	Fake4, Fake6     netip.Prefix // the fakeip ranges
	FakeTTL          uint32       // seconds
	RejectAnswer     RejectAnswer
	CacheBytes       int           // bound of the cache
	ServeStale       time.Duration // how long after its end an answer may still be given when its upstream fails; 0: never
	RebindProtection bool          // private addresses in upstream answers are removed
	RebindDomains    []policy.Pattern
	TimeServers      []policy.Pattern // names by which clocks are set
	LocalDomain      string           // lower-case, no dots around; empty: none
	Canaries         bool             // names by which devices ask whether they may go round us do not exist
	IPv6             bool             // false: AAAA is NODATA for every client
}

// RejectAnswer is the answer to a name whose outbound is reject.
type RejectAnswer uint8

// The answers that dns.reject_answer can name.
const (
	NXDomain RejectAnswer = iota
	NoData
	Zero // 0.0.0.0 and ::
)
