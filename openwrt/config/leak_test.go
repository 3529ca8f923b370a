package config

import (
	"strings"
	"testing"
)

func TestLeak_L03_ConfigurationsThatLeakAreNamed(t *testing.T) {
	const (
		toNode  = "config fairlead\n\toption default node\n"
		byAddr  = "config rule\n\tlist ip 192.0.2.0/24\n\toption outbound node\n"
		byName  = "config rule domestic\n\tlist domain a.example\n\toption outbound direct\n"
		encrypt = "option outbound 'node'"
	)
	for _, tt := range []struct{ sentence, text, want string }{
		{"addresses before names", node + byAddr + byName + toNode, "are not asked of the local upstream"},
		{"a trailing rule that resolves every name", node + byName + byAddr + "\toption resolve 1\n" + toNode, "every name that no earlier rule decides is asked"},
		{"the WAN's resolvers for names that do not leave directly", strings.Replace(node, "upstream 'remote'\n", "upstream 'auto'\n", 1) + toNode, "the local upstream, which then sees names"},
		{"a resolver that is asked in the clear", strings.Replace(node, encrypt, "option outbound 'direct'", 1) + toNode, "asked directly and unencrypted"},
		{"the same for one outbound only", node + "\toption upstream isp\nconfig upstream isp\n\tlist server 192.0.2.1\n" + toNode, "asked directly and unencrypted"},
		{"a node without anybody to ask", strings.Replace(node, "\toption remote_upstream 'remote'\n", "", 1) + toNode, "need dns.remote_upstream"},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			said := ""
			cfg, err := parse(tt.text, true)
			if err != nil {
				said = err.Error()
			}
			said += cfg.Warnings.Error()
			if !strings.Contains(said, tt.want) {
				t.Errorf("check says %q, want it to say %q", said, tt.want)
			}
		})
	}
	t.Run("one that does not is not", func(t *testing.T) {
		if cfg, err := parse(node+byName+toNode, true); err != nil || len(cfg.Warnings) > 0 {
			t.Errorf("check says %v and %v, want nothing", err, cfg.Warnings)
		}
	})
}
