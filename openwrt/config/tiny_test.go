//go:build tiny

package config

import (
	"strings"
	"testing"
)

func TestATinyBuildSaysThatItHasNoHTTPS(t *testing.T) {
	_, err := parse("config upstream 'u'\n\tlist server 'tls://9.9.9.9'\n\tlist server 'https://9.9.9.9'\n", true)
	if err == nil {
		t.Fatal("an upstream over https is taken, want a mistake: this build could not ask it")
	}
	got := err.Error()
	if !strings.Contains(got, ":3: u: server: this build has no HTTPS") || !strings.Contains(got, "fairlead in place of fairlead-tiny") || strings.Contains(got, "tls://") {
		t.Errorf("the mistake is\n%s\nwant it to name line 3 alone, and the package that has HTTPS", got)
	}
}
