package dnsrouter

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"github.com/fairlead/fairlead/dnsrouter/upstream"
)

// outOfTime is an upstream whose certificate does not hold at the clock's time.
type outOfTime struct{}

func (outOfTime) Exchange(context.Context, upstream.Question) ([]byte, error) {
	return nil, fmt.Errorf("asking: %w", upstream.ErrClock)
}

func TestOnlyNamesOfTimeServersThatLeaveDirectlyAreAskedInTheClearWithAWrongClock(t *testing.T) {
	plain := always(localAnswer)
	l := newLAN(t, func(p *Plan) {
		p.Upstreams = map[string]Exchanger{"local": outOfTime{}, "remote": outOfTime{}}
		p.Plain, p.Config.TimeServers = plain, patterns(t, "ntp.direct.example", "ntp.node.example")
	})
	for _, tt := range []struct {
		client netip.Addr
		name   string
		want   int
	}{
		{tv, "www.direct.example", dns.RcodeServerFailure},
		{tv, "ntp.node.example", dns.RcodeServerFailure},
		{tv, "www.node.example", dns.RcodeServerFailure},
		{tv, "0.ntp.direct.example", dns.RcodeSuccess},
		{guest, "1.ntp.node.example", dns.RcodeSuccess}, // everything of a guest leaves directly
		{guest, "www.node.example", dns.RcodeServerFailure},
	} {
		l.rcode(l.ask(tt.client, tt.name, dns.TypeA), tt.want)
	}
	var asked []string
	for _, q := range plain.questions() {
		asked = append(asked, q.Name)
	}
	if want := []string{"0.ntp.direct.example", "1.ntp.node.example"}; !slices.Equal(asked, want) {
		t.Errorf("asked in the clear: %v, want %v", asked, want)
	}
}
