package main

import (
	"net/netip"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

func TestADirectNamesFlowsStayInTheKernel(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	for _, client := range []string{"laptop", "tv"} {
		eachFamily(t, func(t *testing.T, f family) {
			c := h.Clients[client]
			addr := h.address(t, c, "www.domestic.example", f)
			if want := f.of(h.At.Domestic); addr != want {
				t.Fatalf("%s was answered %s, want the real address %s", client, addr, want)
			}
			h.wantPath(t, c, addr, byKernel)
		})
	}
	h.wantIdle(t, "direct")
	h.wantIdle(t, "node")
}

func TestAForeignNamesFlowsGoThroughTheNode(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	eachFamily(t, func(t *testing.T, f family) {
		laptop, tv := h.Clients["laptop"], h.Clients["tv"]
		fake := h.address(t, laptop, "www.foreign.example", f)
		if fake == f.of(h.At.Foreign) {
			t.Fatalf("laptop was answered the real address %s, want a fake one", fake)
		}
		h.wantPath(t, laptop, fake, byNode)

		seen, err := h.webFrom(tv, h.address(t, tv, "www.foreign.example", f), "https://www.foreign.example/")
		ok(t, err)
		if got := h.wayOf(seen); got != byNode {
			t.Errorf("tv in mode realip reached %s %s, want %s", seen.Server, got, byNode)
		}
	})
	if direct := h.status(t).Outbounds["direct"]; direct.TxBytes != 0 {
		t.Errorf("the daemon sent %d bytes directly, want none", direct.TxBytes)
	}
}

// A client that asks nobody we know of still goes the way of the name it says.
func TestALiteralAddressIsSentTheWayOfTheNameInItsFirstBytes(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	for _, tt := range []struct {
		name string
		to   lab.Pair
		url  string
		want path
	}{
		{"a foreign name in TLS", h.At.Foreign, "https://www.foreign.example/", byNode},
		{"a foreign name in HTTP", h.At.Foreign, "http://www.foreign.example/", byNode},
		{"a direct name in TLS", h.At.Domestic, "https://www.domestic.example/", byRelay},
		{"a direct name in HTTP", h.At.Domestic, "http://www.domestic.example/", byRelay},
		{"a name without a rule goes the default way", h.At.Foreign, "https://elsewhere.example/", byRelay},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachFamily(t, func(t *testing.T, f family) {
				for _, c := range h.Clients {
					seen, err := h.webFrom(c, f.of(tt.to), tt.url)
					ok(t, err)
					if got := h.wayOf(seen); got != tt.want {
						t.Errorf("%s was seen as %s (%s), want %s", c.Name, seen.Client, got, tt.want)
					}
					if seen.Server.Addr() != f.of(tt.to) {
						t.Errorf("%s reached %s, want %s", c.Name, seen.Server, f.of(tt.to))
					}
				}
			})
		})
	}
}

func TestALiteralAddressWithARejectedNameIsRefused(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	eachFamily(t, func(t *testing.T, f family) {
		for _, url := range []string{"https://www.blocked.example/", "http://www.blocked.example/"} {
			seen, err := h.webFrom(h.Clients["laptop"], f.of(h.At.Blocked), url)
			if !refused(err) {
				t.Errorf("%s: got %+v, %v; want a reset", url, seen, err)
			}
		}
	})
}

// While only the direct name of a shared address is known, the kernel forwards;
// from the moment that somebody was answered the other name there, each new
// flow is looked into.
func TestASharedAddressIsForwardedUntilItsForeignNameWasAnswered(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	tv := h.Clients["tv"]
	eachFamily(t, func(t *testing.T, f family) {
		shared := f.of(h.At.Shared)
		if got := h.address(t, tv, "cdn.domestic.example", f); got != shared {
			t.Fatalf("cdn.domestic.example is %s, want %s", got, shared)
		}
		if got := h.tcpPath(t, tv, shared); got != byKernel {
			t.Errorf("before the foreign name was answered, a flow was %s, want %s", got, byKernel)
		}
		if got := h.address(t, tv, "cdn.foreign.example", f); got != shared {
			t.Fatalf("cdn.foreign.example is %s, want %s", got, shared)
		}
		for url, want := range map[string]path{
			"https://cdn.foreign.example/":  byNode,
			"https://cdn.domestic.example/": byRelay,
			"http://cdn.foreign.example/":   byNode,
			"http://cdn.domestic.example/":  byRelay,
		} {
			seen, err := h.webFrom(tv, shared, url)
			ok(t, err)
			if got := h.wayOf(seen); got != want {
				t.Errorf("%s was %s, want %s", url, got, want)
			}
		}
	})
}

// webFrom gets a URL from an address.
func (h *home) webFrom(c *lab.Client, from netip.Addr, url string) (lab.Seen, error) {
	return c.GetHTTPAt(h.ctx(), from, url)
}

// wayOf tells how a request travelled. Over IPv4 the router's address could be
// the kernel's or the daemon's: then the log tells.
func (h *home) wayOf(seen lab.Seen) path {
	switch {
	case h.At.Node.Is(seen.Client.Addr()):
		return byNode
	case h.At.RouterWAN.Is(seen.Client.Addr()):
		return byRelay
	}
	return byKernel
}
