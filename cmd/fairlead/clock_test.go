package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

func TestCertificatesAreJudgedAtTheTimeOfTheBuildAtLeast(t *testing.T) {
	build, boot, now := time.Unix(1_700_000_000, 0), time.Unix(0, 0), time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		now   time.Time
		built string
		want  time.Time
	}{
		{boot, "1700000000", build},
		{now, "1700000000", now},
		{boot, "", boot},
		{boot, "0", boot},
	} {
		if got := laterThanBuild(tt.now, tt.built); !got.Equal(tt.want) {
			t.Errorf("laterThanBuild(%v, %q) = %v, want %v", tt.now, tt.built, got, tt.want)
		}
	}
}

// The local upstream's certificate is not valid yet, as on a router whose clock
// is late.
func TestTheTimeCanBeAskedForThoughTheLocalUpstreamsCertificateDoesNotHoldYet(t *testing.T) {
	h := newHouse(t, lab.Options{})
	e := encrypted{"tls", "direct"}
	ns, where := e.place(h)
	authority, err := h.Authority()
	ok(t, err)
	certificate, err := authority.Certificate(where.Addr().String(), time.Now().Add(time.Hour), time.Now().Add(2*time.Hour))
	ok(t, err)
	server, err := h.ServeDoT(ns, where, certificate)
	ok(t, err)
	h.configure(replaced(h.ConfigText(lab.Config{}), "list server '"+h.At.ISP.V4.String()+"'", "list server 'tls://"+where.String()+"'"))
	t.Setenv("SSL_CERT_FILE", authority.File)
	announced := filepath.Join(h.Dir, "resolv.conf")
	ok(t, os.WriteFile(announced, []byte("nameserver "+h.At.ISP.V4.String()+"\n"), 0o600))
	h.startPrepared(t, preparation{Over: map[string]string{"/etc/resolv.conf": announced}})

	p := newProbe(t, h)
	p.rcode(p.ask("tv", "www.domestic.example", lab.TypeA), lab.ServFail)
	if a := p.ask("tv", "0.openwrt.pool.ntp.org", lab.TypeA); len(a.Addrs) == 0 {
		t.Error("the name of a time server has no address, want one: the clock could never be set")
	}
	for _, q := range h.ISPLog() {
		if q.Name != "0.openwrt.pool.ntp.org" {
			t.Errorf("%s was asked in the clear, want the name of the time server only", q.Name)
		}
	}
	if log := server.Log(); len(log) > 0 {
		t.Errorf("the resolver that could not prove who it is was asked for %s", log[0].Name)
	}
}
