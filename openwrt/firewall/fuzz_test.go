package firewall

import (
	"net/netip"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft"
)

func FuzzParse(f *testing.F) {
	f.Add(usual, berlin)
	f.Add(usual+"config rule\n\toption src 'lan'\n\toption dest 'wan'\n\tlist src_ip '10.0.0.1-10.0.1.9'\n\tlist dest_ip '!2001:db8::/ffff::'\n\toption dest_port '1:5 !3'\n"+
		"\toption src_mac '2:0:0:0:77:1'\n\toption proto 'tcp udp'\n\toption weekdays '!Mon'\n\toption start_time '1:2'\n\toption stop_date '2026-1-2T3:4:5'\n\toption target 'DROP'\n", "config system\n\toption timezone '<+0330>-3:30'\n")
	f.Fuzz(func(t *testing.T, text, system string) {
		fw := Parse(text, system)
		fw.Unseen(place())
		zones := fw.Zones(place(), noon())
		_, err := nft.Build(nft.Config{
			LAN: place().Served, Zones: zones,
			Fake4: netip.MustParsePrefix("198.18.0.0/15"), Fake6: netip.MustParsePrefix("2001:2::/64"),
			Groups: []nft.Group{{Mode: policy.RealIP}},
		})
		if err != nil {
			t.Errorf("Build(%+v) = %v, want every firewall that can be written to fit into a table", zones, err)
		}
	})
}
