package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/doctor"
	"github.com/fairlead/fairlead/cmd/fairlead/leaks"
	"github.com/fairlead/fairlead/dnsrouter"
	"github.com/fairlead/fairlead/dnsrouter/fakeip"
	"github.com/fairlead/fairlead/gateway"
	"github.com/fairlead/fairlead/gateway/device"
	"github.com/fairlead/fairlead/gateway/tproxy"
	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/config"
	"github.com/fairlead/fairlead/openwrt/dnsmasq"
	"github.com/fairlead/fairlead/openwrt/lease"
)

const (
	// beatEvery is how often the kernel hears that we are alive; it stops
	// diverting after three seconds of silence.
	beatEvery = time.Second
	// fakeGrace is how long a fake address keeps its name after the last answer,
	// beyond its TTL: browsers hold addresses for a minute and more.
	fakeGrace = time.Hour
	// stopTime bounds the ending of what is under way.
	stopTime = 3 * time.Second
)

// daemon is the running gateway.
type daemon struct {
	log   *slog.Logger
	level *slog.LevelVar
	file  string
	began time.Time

	lock      *lock
	table     *nft.Table
	flows     *route.Conntrack // nil where the kernel cannot delete flows
	names     *lease.Book
	devices   *device.Table
	pool      *fakeip.Pool
	sender    *tproxy.Sender
	listeners listeners
	router    *dnsrouter.Router
	gateway   *gateway.Gateway
	drifts    drifts
	own       ownAddresses
	machine   *machine
	leaks     atomic.Pointer[leaks.Monitor] // nil while nobody watches
	inPlace   *standIn
	hup       chan os.Signal // SIGHUP, caught from the start on: unheard it would end the process

	mu            sync.Mutex // guards the fields below, and makes changes one at a time
	gen           *generation
	home          []netip.Prefix
	fights        fights
	placeWarnings []string // why dnsmasq's DNS is not as option dnsmasq wants it; none: it is
	findings      []doctor.Finding
}

// listeners are the transparent sockets, for IPv4 and IPv6 each.
type listeners struct {
	tcp, dnsTCP []*net.TCPListener
	udp, dnsUDP []*tproxy.UDPListener
}

// start brings a daemon up, or leaves what on_failure says. The kernel is changed
// last, in one transaction, when everything that it will send packets to is there.
func start(ctx context.Context, cfg *config.Config, system dnsmasq.System, log *slog.Logger, level *slog.LevelVar) (*daemon, error) {
	d := &daemon{inPlace: newStandIn(system, cfg.StateDir), log: log, level: level, file: cfg.File, began: time.Now(), drifts: newDrifts(), hup: make(chan os.Signal, 1)}
	signal.Notify(d.hup, syscall.SIGHUP)
	for _, step := range []func(context.Context, *config.Config) error{
		d.takeLock, d.probe, d.listen, d.openConntrack, d.openPool, d.prepare, d.installRoutes, d.installTable,
	} {
		if err := step(ctx, cfg); err != nil {
			return nil, errors.Join(err, d.abandon(cfg))
		}
	}
	d.recordPolicy(cfg)
	return d, nil
}

// abandon ends a start that failed. What one before it left, that was killed, is
// dealt with as well.
func (d *daemon) abandon(cfg *config.Config) error {
	if d.lock == nil {
		return nil // there is another fairlead
	}
	if d.sender != nil {
		d.sender.Close()
	}
	d.release()
	return guard(cfg, d.inPlace.dnsmasq)
}

func (d *daemon) takeLock(_ context.Context, cfg *config.Config) (err error) {
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	d.lock, err = takeLock(cfg.StateDir)
	return err
}

func (d *daemon) probe(_ context.Context, cfg *config.Config) (err error) {
	if d.table, err = nft.Open(nft.Options{Log: d.log}); err != nil {
		return err
	}
	return probeFor(cfg, d.table)
}

// probeFor says what the kernel lacks of all that a configuration needs.
func probeFor(cfg *config.Config, table *nft.Table) error {
	err := table.Probe()
	if err == nil && len(interfaceNumbers(cfg)) > 0 {
		err = table.ProbeInterfaces()
	}
	return err
}

func (d *daemon) listen(ctx context.Context, _ *config.Config) (err error) {
	if d.sender, err = tproxy.NewSender(); err != nil {
		return err
	}
	for _, host := range loopbacks() {
		if err := d.listeners.open(ctx, host); err != nil {
			return fmt.Errorf("opening ports %d and %d of %s, which no other program may have: %w", nft.GatewayPort, nft.DNSPort, host, err)
		}
	}
	return nil
}

// loopbacks are the addresses that nothing but a tproxy rule can reach. A
// kernel without IPv6 has only the first.
func loopbacks() []netip.Addr {
	v4, v6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
		return []netip.Addr{v4}
	}
	return []netip.Addr{v4, v6}
}

func (l *listeners) open(ctx context.Context, host netip.Addr) error {
	gatewayAt, dnsAt := netip.AddrPortFrom(host, nft.GatewayPort), netip.AddrPortFrom(host, nft.DNSPort)
	tcp, err1 := tproxy.ListenTCP(ctx, gatewayAt)
	udp, err2 := tproxy.ListenUDP(ctx, gatewayAt)
	dnsTCP, err3 := tproxy.ListenTCP(ctx, dnsAt)
	dnsUDP, err4 := tproxy.ListenUDP(ctx, dnsAt)
	if tcp != nil {
		l.tcp = append(l.tcp, tcp)
	}
	if udp != nil {
		l.udp = append(l.udp, udp)
	}
	if dnsTCP != nil {
		l.dnsTCP = append(l.dnsTCP, dnsTCP)
	}
	if dnsUDP != nil {
		l.dnsUDP = append(l.dnsUDP, dnsUDP)
	}
	return errors.Join(err1, err2, err3, err4)
}

func (l *listeners) close() {
	for _, t := range slices.Concat(l.tcp, l.dnsTCP) {
		t.Close()
	}
	for _, u := range slices.Concat(l.udp, l.dnsUDP) {
		u.Close()
	}
}

func (d *daemon) openPool(_ context.Context, cfg *config.Config) (err error) {
	d.pool, err = fakeip.Open(fakeip.Config{
		Prefix4: cfg.DNS.Fake4, Prefix6: cfg.DNS.Fake6,
		Journal: filepath.Join(cfg.StateDir, "fakeip"), Snapshot: snapshotPath(cfg),
		Keep: fakeKeep(cfg), Log: d.log,
	})
	return err
}

// snapshotPath is where names outlive a reboot: nowhere, unless the user gave
// a directory that does.
func snapshotPath(cfg *config.Config) string {
	if cfg.CacheDir == cfg.StateDir {
		return ""
	}
	return filepath.Join(cfg.CacheDir, "fakeip")
}

func fakeKeep(cfg *config.Config) time.Duration {
	return time.Duration(cfg.DNS.FakeTTL)*time.Second + fakeGrace
}

// prepare makes the first generation and what follows it.
func (d *daemon) prepare(_ context.Context, cfg *config.Config) (err error) {
	d.names = lease.NewBook(namesOf(cfg), cfg.DNS.LocalDomain, d.log)
	d.devices = device.New(d.names, d.log)
	d.machine = newMachine(cfg, d.resolve, d.own.has, d.log)
	if d.gen, err = newGeneration(cfg, d.machine, d.log); err != nil {
		return err
	}
	d.router = dnsrouter.New(dnsrouter.Deps{
		Pool: d.pool, Ways: kernelWays{d.table}, Fakes: kernelWays{d.table}, Blocks: d.table, Local: d.names, Devices: d.devices, Record: d.machine.record, Log: d.log,
		Own: d.own.has, Subnet: d.own.subnet,
	}, d.dnsPlan(d.gen))
	d.gateway = gateway.New(gateway.Config{
		Names: fakeNames{d.pool}, History: d.router.History(), Devices: d.devices,
		Resolve: resolver(d.resolve), Sender: d.sender, HandBack: d.taker(), Log: d.log,
	}, d.gen.gatewayPlan())
	return nil
}

// dnsPlan is a generation's, with what is the same for all.
func (d *daemon) dnsPlan(gen *generation) *dnsrouter.Plan {
	plan := gen.dnsPlan()
	if gen.dnsmasq != nil {
		plan.Neighbour = neighbour{gen.dnsmasq, d.inPlace}
	}
	return plan
}

// resolve asks an upstream of the current generation.
func (d *daemon) resolve(ctx context.Context, upstreamName, host string) ([]netip.Addr, error) {
	return d.router.Resolve(ctx, upstreamName, host)
}

// fakeNames are the pool as the gateway uses it.
type fakeNames struct{ *fakeip.Pool }

// Hold pins a fake address and gives the name that it stands for.
func (n fakeNames) Hold(addr netip.Addr) (string, bool) {
	if !n.Pool.Hold(addr) {
		return "", false
	}
	return n.Pool.NameOf(addr)
}

func (d *daemon) installRoutes(_ context.Context, cfg *config.Config) error {
	changed, err := route.PassBridged(sysctlState(cfg.StateDir))
	if err := d.tolerate(err); err != nil {
		return err
	}
	if len(changed) > 0 {
		d.log.Info("bridge netfilter is off while fairlead runs: it would take diverted packets away", "sysctls", changed)
	}
	_, err = d.applyRoutes(d.gen)
	return err
}

// tolerate logs that a sysctl could not be recorded, which is no reason not to run.
func (d *daemon) tolerate(err error) error {
	if errors.Is(err, route.ErrUnrecorded) {
		d.log.Warn("changing sysctls", "err", err)
		return nil
	}
	return err
}

// applyRoutes makes rules and routes those of a generation, as the machine's
// links and addresses are now, and gives how many were missing.
func (d *daemon) applyRoutes(gen *generation) (added int, err error) {
	d.own.look()
	home, lan, err := route.Connected(gen.devices)
	if err != nil {
		return 0, err
	}
	d.own.follow(home, lan, gen.devices)
	changed, err := route.AcceptAnswers(sysctlState(gen.cfg.StateDir), gen.waysOut())
	if err := d.tolerate(err); err != nil {
		return 0, err
	}
	if len(changed) > 0 {
		d.log.Info("answers by interface outbounds are accepted while fairlead runs", "sysctls", changed)
	}
	return route.Apply(gen.routes(lan))
}

// kernelWays are the table as the DNS router uses it.
type kernelWays struct{ *nft.Table }

// SetWays has the kernel know which way flows to real addresses leave.
func (k kernelWays) SetWays(all []dnsrouter.AddrWay) error {
	learned := make([]nft.Learned, len(all))
	for i, w := range all {
		learned[i] = nft.Learned{Group: w.Group, Addr: w.Addr, Way: nft.Way(w.Way), TTL: w.TTL, First: w.First}
	}
	return k.Table.SetWays(learned)
}

// SetFake has the kernel know what a fake address stands for.
func (k kernelWays) SetFake(fake, real netip.Addr, way dnsrouter.Way) error {
	return k.Table.SetFake(fake, real, nft.Way(way))
}

// sysctlState is the record of the sysctls that were changed.
func sysctlState(stateDir string) string { return filepath.Join(stateDir, "sysctl") }

func (d *daemon) installTable(context.Context, *config.Config) (err error) {
	if d.home, _, err = route.Connected(d.gen.devices); err != nil {
		return err
	}
	return d.install()
}

// install makes the table anew, with every name that has a fake address.
func (d *daemon) install() error {
	ruleset, err := d.gen.ruleset(d.home, d.names)
	if err != nil {
		return err
	}
	if err := d.table.Install(ruleset, d.fakes); err != nil {
		return err
	}
	d.router.Renewed()
	return nil
}

// recordPolicy tells whoever comes after us what on_failure was. That it cannot be
// told is no reason not to run.
func (d *daemon) recordPolicy(cfg *config.Config) {
	if err := recordPolicy(cfg.StateDir, cfg.Closed); err != nil {
		d.log.Warn("on_failure is not recorded: with a mistake in the configuration, a crash is dealt with as the file says", "err", err)
	}
}

// undo takes back whatever a run did, in the reverse order, so that the machine is
// as it was before.
func (d *daemon) undo() error {
	d.listeners.close()
	stateDir := d.gen.cfg.StateDir
	return errors.Join(restore(d.table, stateDir), forgetPolicy(stateDir), d.release())
}

// release gives up all that this process holds, and leaves the kernel as it is.
func (d *daemon) release() error {
	d.listeners.close()
	if d.gen != nil {
		d.gen.close()
	}
	var err error
	if d.pool != nil {
		err = d.pool.Close()
	}
	if d.flows != nil {
		d.flows.Close()
	}
	if d.table != nil {
		d.table.Close()
	}
	d.lock.Close()
	return err
}

// restore takes back the table, rules, routes and sysctls, and the conntrack
// entries of flows that only the daemon could carry. Those have no source NAT, so
// that without the table their packets would leave with the client's own address:
// they go first, when nobody listens any more, and again for those few that
// sockets which the kernel is still closing had marked meanwhile.
func restore(table *nft.Table, stateDir string) error {
	carried, removed := forgetCarried(), table.Delete()
	if errors.Is(removed, syscall.EPERM) { // nothing else is allowed either
		return fmt.Errorf("removing table, rules and routes needs CAP_NET_ADMIN (run as root): %w", removed)
	}
	return errors.Join(carried, removed, forgetCarried(), route.Remove(), route.Restore(sysctlState(stateDir)))
}

func forgetCarried() error {
	_, err := route.DeleteCarried()
	if errors.Is(err, route.ErrNoConntrack) {
		return nil
	}
	return err
}
