//go:build !router

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/cmd/fairlead/leaks"
	"github.com/fairlead/fairlead/nft/nstest"
)

// demoTime bounds the whole demonstration.
const demoTime = 30 * time.Second

// demoCommand builds a small world in namespaces and shows the gateway at work.
func demoCommand(e env, args []string) int {
	fs, _ := flags(e, "demo")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	code, ran, err := nstest.Enter()
	switch {
	case err != nil:
		return e.fail(fmt.Errorf("the demo needs namespaces: %w", err))
	case ran:
		return code
	}
	if err := demo(e.out); err != nil {
		return e.fail(fmt.Errorf("showing the demo: %w", err))
	}
	return 0
}

// demo tells its story to w. It fails if anything is not as it says.
func demo(w io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), demoTime)
	defer cancel()
	began := time.Now()
	world, err := lab.New(lab.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, world.Close()) }()

	s := &story{w: w, world: world}
	s.introduce()
	if err := s.startRouter(ctx); err != nil {
		return err
	}
	capture, err := world.CaptureWAN()
	if err != nil {
		return err
	}
	defer capture.Close()
	for _, client := range []string{"laptop", "tv"} {
		s.show(ctx, world.Clients[client])
	}
	packets, err := capture.Packets()
	if err != nil {
		return err
	}
	s.sort(packets)
	fmt.Fprintf(w, "\n%d things to see, %d not as they should be; %.1f s\n", s.seen, s.wrong, time.Since(began).Seconds())
	if s.wrong > 0 {
		return fmt.Errorf("%d things were not as they should be", s.wrong)
	}
	return nil
}

// story prints what happens and counts what is not as it should be.
type story struct {
	w           io.Writer
	world       *lab.World
	seen, wrong int
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.w, format+"\n", args...) }

// line prints one thing to see, marked if it is wrong.
func (s *story) line(good bool, format string, args ...any) {
	mark := "  ok    "
	s.seen++
	if !good {
		mark = "  WRONG "
		s.wrong++
	}
	s.say(mark+format, args...)
}

func (s *story) introduce() {
	at := s.world.At
	s.say("A home in namespaces of this machine; nothing leaves it.")
	s.say("")
	s.say("  laptop (fakeip) --+")
	s.say("                    +-- router with fairlead --WAN-- the internet")
	s.say("  tv     (realip) --+                                 |")
	s.say("                                                  SOCKS5 node")
	s.say("")
	s.say("  ISP's resolver    %s  lies about foreign names, with %s", at.ISP.V4, at.Poison.V4)
	s.say("  honest resolver   %s    only the node reaches it", at.Honest.V4)
	s.say("  policy            domestic.example direct, foreign.example through the node,")
	s.say("                    blocked.example rejected")
	s.say("")
}

func (s *story) startRouter(ctx context.Context) error {
	path, err := s.world.WriteConfig(s.world.ConfigText(lab.Config{}))
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	router, err := s.world.StartRouter(self, path)
	if err != nil {
		return err
	}
	if err := router.Ready(ctx); err != nil {
		return fmt.Errorf("%w; its log:\n%s", err, router.Log())
	}
	return nil
}

// scene is one name as a client meets it.
type scene struct {
	name   string
	answer string       // fake, or the address that it should be, or none
	from   []netip.Addr // who the server should see; nil: the name is refused
	way    string
}

func (s *story) show(ctx context.Context, c *lab.Client) {
	at := s.world.At
	fake := c.Name == "laptop"
	s.say("%s asks %s, as DHCP told it, and then connects:", c.Name, at.RouterLAN.V4)
	direct := []netip.Addr{at.RouterWAN.V4, at.RouterWAN.V6, c.Addr6}
	node := []netip.Addr{at.Node.V4, at.Node.V6}
	foreign := at.Foreign.V4.String()
	if fake {
		foreign = "fake"
	}
	for _, scene := range []scene{
		{"www.domestic.example", at.Domestic.V4.String(), direct, "direct, by the kernel alone"},
		{"www.foreign.example", foreign, node, "through the node"},
		{"blocked.example", "none", nil, "refused"},
	} {
		s.play(ctx, c, scene)
	}
	s.say("")
}

// play asks for a name and goes there.
func (s *story) play(ctx context.Context, c *lab.Client, sc scene) {
	answer, err := c.Lookup(ctx, s.world.At.RouterLAN.V4, sc.name, 1, "udp")
	if err != nil {
		s.line(false, "%v", err)
		return
	}
	if len(answer.Addrs) == 0 {
		s.line(sc.answer == "none", "%-21s no such name; nobody was asked", sc.name)
		return
	}
	addr := answer.Addrs[0]
	good, what := addr.String() == sc.answer, addr.String()
	if netip.MustParsePrefix("198.18.0.0/15").Contains(addr) {
		good, what = sc.answer == "fake", addr.String()+" (fake)"
	}
	seen, err := c.GetHTTPAt(ctx, addr, "https://"+sc.name+"/")
	if err != nil {
		s.line(false, "%-21s -> %-19s %v", sc.name, what, err)
		return
	}
	who := "nobody"
	for _, a := range sc.from {
		if seen.Client.Addr() == a {
			who = s.nameOf(a)
		}
	}
	s.line(good && who != "nobody", "%-21s -> %-19s %s", sc.name, what, sc.way)
	s.say("%7s server %s saw %s (%s)", "", seen.Server.Addr(), seen.Client.Addr(), who)
}

func (s *story) nameOf(a netip.Addr) string {
	switch {
	case s.world.At.Node.Is(a):
		return "the node"
	case s.world.At.RouterWAN.Is(a):
		return "the router's WAN address"
	}
	return "the client itself"
}

// sort shows the questions that passed the WAN, from the capture.
func (s *story) sort(packets []nstest.Packet) {
	s.say("What the WAN's side could see of the questions, from %d captured packets:", len(packets))
	passed := map[string]bool{}
	for _, f := range s.world.Sorter().Classify(packets) {
		if f.Response {
			continue
		}
		if text := f.Line(); !passed[text] {
			passed[text] = true
			s.line(f.Way != leaks.Leak, "%-9s %s to %s", strings.ToUpper(string(f.Way)), f.Name, f.Dst.Addr())
			s.say("%17s %s", "", f.Reason)
		}
	}
	s.say("  The node's resolver was asked for %s,", names(s.world.NodeResolverLog()))
	s.say("  the ISP's for %s.", names(s.world.ISPLog()))
}

// names lists what a resolver was asked, each name once.
func names(log []lab.Query) string {
	var list []string
	seen := map[string]bool{}
	for _, q := range log {
		if !seen[q.Name] {
			seen[q.Name] = true
			list = append(list, q.Name)
		}
	}
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}
