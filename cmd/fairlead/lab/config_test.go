package lab_test

import (
	"net/netip"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/openwrt/config"
)

func TestConfigurationsHaveNoMistakes(t *testing.T) {
	w := world(t, lab.Options{})
	for what, c := range map[string]lab.Config{
		"the usual one": {},
		"another": {
			Default: "node", OnFailure: "closed", Mode: "realip",
			Main: []string{"option ipv6 '0'", "option sniff '0'"}, DNS: []string{"option fakeip_ttl '5'"},
			More: "config rule 'more'\n\tlist port '25'\n\toption outbound 'reject'\n",
			ISP:  netip.AddrPortFrom(w.At.ISP.V4, 5300), Node: netip.AddrPortFrom(w.At.Node.V4, 1081),
		},
	} {
		path, err := w.WriteConfig(w.ConfigText(c))
		ok(t, err)
		got, err := config.Load(path, true)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got.Control != w.ControlPath() || got.StateDir != w.StateDir() || !got.Enabled || got.Closed != (c.OnFailure == "closed") {
			t.Errorf("%s: got control %s, state %s, enabled %v, closed %v", what, got.Control, got.StateDir, got.Enabled, got.Closed)
		}
	}
}
