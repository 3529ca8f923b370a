package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// The lab has the node and the resolver at the addresses of the page. Its node
// wants a password, and port 853 of the resolver is taken by one whose certificate
// nobody signed.
func TestTheConfigurationOfTheReadmeWorks(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	ok(t, err)
	_, rest, _ := strings.Cut(string(page), "```\nconfig fairlead")
	text, _, _ := strings.Cut(rest, "```")

	h := newHouse(t, lab.Options{})
	authority, err := h.Authority()
	ok(t, err)
	certificate, err := authority.Certificate(h.At.Honest.V4.String(), time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	ok(t, err)
	resolver, err := h.ServeDoT(h.Node, at(h.At.Honest.V4, 8853), certificate)
	ok(t, err)
	h.writeBeside(t, "network", "config interface 'lan'\n\toption device '"+lab.LAN+"'\n")
	text = replaced("config fairlead"+text, "option enabled '1'",
		"option enabled '1'\n\toption state_dir '"+h.StateDir()+"'\n\toption control '"+h.ControlPath()+"'")
	text = replaced(text, "'tls://192.0.2.53'", "'tls://192.0.2.53:8853'")
	h.configure(replaced(text, "option port '1080'", "option port '1080'\n\toption username '"+lab.User+"'\n\toption password '"+lab.Password+"'"))
	h.startWith(t, "SSL_CERT_FILE="+authority.File)

	laptop := h.Clients["laptop"]
	seen, err := laptop.GetHTTP(h.ctx(), "http://www.foreign.example/")
	ok(t, err)
	if !h.At.Node.Is(seen.Client.Addr()) {
		t.Errorf("the server of www.foreign.example saw %s, want the node, %s", seen.Client, h.At.Node.V4)
	}
	if _, err := laptop.Lookup(h.ctx(), h.At.RouterLAN.V4, "www.foreign.example", lab.TypeTXT, "udp"); err != nil {
		t.Error(err)
	}
	if len(resolver.Log()) == 0 {
		t.Error("the resolver was not asked over TLS, want it asked for what has no fake answer")
	}
}
