package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/dnsrouter"
	"github.com/fairlead/fairlead/gateway/device"
	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/config"
	"github.com/fairlead/fairlead/openwrt/lease"
)

// explanation is what `fairlead explain --json` prints.
type explanation struct {
	Client   string `json:"client"`   // the section, or default
	Name     string `json:"name"`     // or the address
	Mode     string `json:"mode"`     // fakeip realip off
	Rule     string `json:"rule"`     // what decides, or default
	Outbound string `json:"outbound"` // where the flow leaves
	Upstream string `json:"upstream"` // who may be asked for the name; empty: nobody
	Answer   string `json:"answer"`   // fake real none
	Path     string `json:"path"`     // kernel relay reject off

	kind policy.Kind // of the outbound
	why  []string
}

// subject is what is explained: a name or an address, with what is known of
// the flow to it.
type subject struct {
	name    string
	addr    netip.Addr
	port    uint16
	proto   policy.Proto
	unknown policy.Unknown
	local   bool // the name is this network's own
	own     bool // the address is this machine's
	near    bool // a flow to the address stays in this machine's networks
}

func explainCommand(e env, args []string) int {
	fs, file := flags(e, "explain")
	asJSON := fs.Bool("json", false, "print JSON")
	who := fs.String("client", "", "`WHO` asks: an address, a hardware address or a client section")
	if code, ok := parsed(fs, args, 1); !ok {
		return code
	}
	x, err := explain(*file, *who, fs.Arg(0))
	if err != nil {
		return e.fail(err)
	}
	if *asJSON {
		return e.printJSON(x)
	}
	x.print(e.out)
	return 0
}

// explain says what would happen, by the configuration and by what this machine
// knows of its networks.
func explain(file, who, what string) (explanation, error) {
	cfg, err := config.Load(file, false)
	if err != nil {
		return explanation{}, err
	}
	log := slog.New(slog.DiscardHandler)
	gen, err := newGeneration(cfg, nil, log)
	if err != nil {
		return explanation{}, err
	}
	defer gen.close()
	s, err := parseSubject(what)
	if err != nil {
		return explanation{}, err
	}
	names := lease.NewBook(namesOf(cfg), cfg.DNS.LocalDomain, log)
	devices := device.New(names, log)
	client, from, err := findClient(gen, who, devices, names)
	if err != nil {
		return explanation{}, err
	}
	_, known := names.Host(s.name)
	s.local = known || dnsrouter.IsLocal(s.name, cfg.DNS.LocalDomain, names.Rules().Domains)
	s.own, s.near = gen.whereabouts(s.addr)
	x := gen.explain(client, s)
	x.askFirewall(gen, from, s)
	return x, nil
}

// findClient reads WHO, and gives what is known of the device.
func findClient(gen *generation, who string, devices *device.Table, names *lease.Book) (policy.Client, policy.Device, error) {
	if who == "" {
		return 0, policy.Device{}, fmt.Errorf("which client? give --client with an address, a hardware address or a client section")
	}
	if c, ok := gen.policy.ClientByName(who); ok {
		if c == 0 {
			return c, gen.locate(policy.Device{}, devices), nil
		}
		return c, gen.locate(only(gen.sections[c-1]), devices), nil
	}
	var d policy.Device
	if addr, err := netip.ParseAddr(who); err == nil {
		d = devices.Device(addr.Unmap())
	} else if mac, err := policy.ParseMAC(who); err == nil {
		d = knownBy(mac, devices, names)
	} else {
		return 0, d, fmt.Errorf("%q is no address, no hardware address and no client section of %s", who, gen.cfg.File)
	}
	d = gen.locate(d, devices)
	return gen.policy.Client(d), d, nil
}

// knownBy gives what the LAN knows of a hardware address: where it was seen, with
// the first of its addresses, or what it was leased.
func knownBy(mac policy.MAC, devices *device.Table, names *lease.Book) policy.Device {
	seen, _ := devices.All() // of a network that cannot be looked at nothing is known
	for _, d := range seen {
		if d.MAC == mac && !d.Addr.IsLinkLocalUnicast() {
			return d
		}
	}
	for _, l := range names.Leases() {
		if l.MAC == mac {
			return policy.Device{MAC: mac, Addr: l.Addr, Hostname: l.Hostname}
		}
	}
	return policy.Device{MAC: mac}
}

// parseSubject reads NAME[:PORT[/udp]]; an IPv6 address with a port stands in
// brackets.
func parseSubject(what string) (subject, error) {
	s := subject{unknown: policy.PortUnknown | policy.ProtoUnknown | policy.ProtocolUnknown}
	host, rest := what, ""
	if _, err := netip.ParseAddr(what); err != nil {
		if i := strings.LastIndexByte(what, ':'); i >= 0 {
			host, rest = what[:i], what[i+1:]
		}
	}
	if rest != "" || strings.HasSuffix(what, ":") {
		port, proto, given := strings.Cut(rest, "/")
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return s, fmt.Errorf("%q: port %q is not a number from 1 to 65535; of a URL, give the host's name alone", what, port)
		}
		if !given {
			proto = "tcp"
		}
		if s.proto, err = policy.ParseProto(proto); err != nil {
			return s, fmt.Errorf("%q: %w", what, err)
		}
		s.port = uint16(n)
		s.unknown &^= policy.PortUnknown | policy.ProtoUnknown
	}
	host = strings.Trim(host, "[]")
	if addr, err := netip.ParseAddr(host); err == nil {
		s.addr = addr.Unmap()
		return s, nil
	}
	if _, err := policy.ParsePattern("full:" + strings.TrimSuffix(host, ".")); err != nil || host == "" {
		return s, fmt.Errorf("%q is neither an address nor a name that can be looked up", what)
	}
	s.name = strings.ToLower(strings.TrimSuffix(host, "."))
	return s, nil
}

func (g *generation) explain(client policy.Client, s subject) explanation {
	mode := g.policy.Mode(client)
	x := explanation{Client: g.policy.ClientName(client), Name: s.name, Mode: mode.String(), Answer: "none"}
	switch {
	case mode == policy.Off:
		x.off(s, g.cfg.Policy.LocalUpstream)
	case s.addr.IsValid():
		x.address(g, client, s)
	case s.local:
		x.Rule, x.Outbound, x.Path = "local", "direct", "kernel"
		x.say("the name belongs to this network or to no public DNS at all: it is answered from hosts and leases, and never sent on")
	case g.cfg.DNS.Canaries && dnsrouter.IsCanary(s.name):
		x.Rule, x.Outbound, x.Path = "canaries", "reject", "reject"
		x.say("by this name devices ask whether they may go round this DNS: it does not exist, unless option canaries is 0")
	default:
		x.named(g, client, s)
	}
	return x
}

// off: such a client is as it would be without us.
func (x *explanation) off(s subject, local string) {
	x.Rule, x.Outbound, x.Path = "default", "direct", "off"
	if s.addr.IsValid() {
		x.Name = s.addr.String()
		return
	}
	x.Answer, x.Upstream = "real", local
	x.say("the client's mode is off: neither its questions nor its packets are diverted")
}

func (x *explanation) address(g *generation, client policy.Client, s subject) {
	x.Name = s.addr.String()
	switch {
	case s.question():
		x.Rule, x.Outbound, x.Path = "default", "direct", "relay"
		x.say("fairlead answers questions to port 53 itself, whatever server they are meant for, and asks on as the rules say of each name")
		return
	case neverRouted(s.addr):
		x.Rule, x.Outbound, x.Path = "default", "direct", "kernel"
		x.say("no router carries such an address from one network to another: it is never diverted")
		return
	case g.cfg.DNS.Fake4.Contains(s.addr), g.cfg.DNS.Fake6.Contains(s.addr):
		x.Rule, x.Outbound, x.Path = "fakeip", "reject", "reject"
		x.say("a fake address: ask for the name that it was given for; one that stands for no name is refused")
		return
	case s.near:
		x.Rule, x.Outbound, x.Path = "default", "direct", "kernel"
		x.say("the address is this router's own or of a network that it is in: it is never diverted")
		return
	}
	ways := g.policy.Judge(policy.Flow{Client: client, Addr: s.addr, Port: s.port, Proto: s.proto}, s.unknown|policy.HostUnknown)
	x.take(ways)
	if !g.policy.AnyName(client).AllDirect && x.Path == "kernel" {
		x.Path = "relay"
		x.say("a bare address: its flow is sniffed, because a name could send it another way; an address that DNS answered for a direct name stays in the kernel")
	}
}

// question tells DNS that is sent to an address.
func (s subject) question() bool { return s.addr.IsValid() && s.port == portDNS }

// whereabouts tells the addresses of this machine, and those of its networks or
// that no router carries: but for questions, flows to them are never diverted.
func (g *generation) whereabouts(addr netip.Addr) (own, near bool) {
	var here ownAddresses
	here.look()
	if home, lan, err := route.Connected(g.devices); err == nil {
		here.follow(home, lan, g.devices)
	}
	return here.has(addr), here.near(addr) || neverRouted(addr)
}

// neverRouted tells the addresses of this machine, this link and of groups.
func neverRouted(a netip.Addr) bool {
	return a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (x *explanation) named(g *generation, client policy.Client, s subject) {
	ways := g.policy.Name(client, s.name)
	x.take(g.policy.Judge(policy.Flow{Client: client, Host: s.name, Port: s.port, Proto: s.proto}, s.unknown|policy.AddrUnknown))
	x.Upstream = ways.Upstream
	fakes := g.policy.Mode(client) == policy.FakeIP && !g.policy.RealName(s.name)
	inKernel := ways.AllDirect || ways.First.Kind == policy.Interface && !ways.Open && !ways.NeedsAddr
	switch {
	case ways.AllReject:
		x.say("the question is answered as dns.reject_answer says, and nobody is asked")
	case ways.AllDirect:
		x.Answer = "real"
		x.say("the name leaves directly whatever its address and port are, so its addresses stay in the kernel")
	case fakes:
		x.Answer = "fake"
		x.say("the name is answered with a fake address; types that carry no address are asked of upstream %s", ways.Upstream)
	case inKernel:
		x.Answer = "real"
		x.say("the name is resolved by upstream %s, and the kernel routes by its addresses, unless names of other ways share them", ways.Upstream)
	default:
		x.Answer = "real"
		x.say("the name is resolved by upstream %s, and its flows are sniffed", ways.Upstream)
	}
	if !inKernel && x.Path == "kernel" {
		x.Path = "relay"
	}
	if ways.Open {
		x.say("the way is open while address, port or protocol are unknown: the first rule that is certain is %s", ways.First.Rule)
	}
}

// take fills in what a verdict says.
func (x *explanation) take(ways policy.Ways) {
	v := ways.First
	x.Rule, x.Outbound, x.kind = v.Rule, v.Outbound, v.Kind
	switch v.Kind {
	case policy.Direct, policy.Interface:
		x.Path = "kernel"
	case policy.Reject:
		x.Path = "reject"
	default:
		x.Path = "relay"
	}
}

func (x *explanation) say(format string, args ...any) {
	x.why = append(x.why, fmt.Sprintf(format, args...))
}

func (x *explanation) print(w io.Writer) {
	for _, line := range [][2]string{
		{"client", x.Client}, {"name", x.Name}, {"mode", x.Mode}, {"rule", x.Rule},
		{"outbound", x.Outbound}, {"upstream", or(x.Upstream, "-")}, {"answer", x.Answer}, {"path", x.Path},
	} {
		fmt.Fprintf(w, "%-9s %s\n", line[0], line[1])
	}
	for _, why := range x.why {
		fmt.Fprintf(w, "because   %s\n", why)
	}
}
