// Command bench measures fairlead between network namespaces of this machine,
// beside a router without it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == agentFlag {
		exit(runAgent(os.Args[2], netip.MustParseAddr(os.Args[3])))
	}
	code, ran, err := nstest.Enter()
	if err != nil {
		exit(fmt.Errorf("the benchmark needs namespaces: %w", err))
	}
	if ran {
		os.Exit(code)
	}
	exit(run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench is a benchmark under way.
type bench struct {
	street
	binary   string
	logLevel string
	pairs    int
	only     *regexp.Regexp
	extra    time.Time // until when disturbed rounds are run again
	report   *report
}

// extraTime is how long a whole run may go on replacing disturbed rounds.
const extraTime = 90 * time.Second

func run() (err error) {
	binary := flag.String("fairlead", "bin/fairlead", "the `binary` to measure")
	logLevel := flag.String("log", "warn", "log `level` of the daemon; info writes a line for each flow")
	quick := flag.Bool("quick", false, "three short rounds instead of nine")
	only := flag.String("only", "", "measure only what matches this `regexp`")
	file := flag.String("json", "", "also write the results to this `file`")
	flag.Parse()

	b := &bench{binary: *binary, logLevel: *logLevel, pairs: 9, extra: time.Now().Add(extraTime)}
	if *quick {
		b.pairs, b.brief, b.extra = 3, true, time.Time{}
	}
	if b.only, err = regexp.Compile(*only); err != nil {
		return err
	}
	if b.report, err = newReport(os.Stdout, b.binary, b.pairs); err != nil {
		return err
	}
	// dnsmasq changes its credentials, and is then not told that we are gone.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-interrupted
		b.close()
		os.Exit(1)
	}()
	if err := b.build(); err != nil {
		return errors.Join(err, b.close())
	}
	err = b.measureAll()
	if err == nil && *file != "" {
		err = b.report.save(*file)
	}
	return errors.Join(err, b.close())
}

// build makes both houses.
func (b *bench) build() (err error) {
	if b.plain, err = newHouse(); err != nil {
		return err
	}
	if b.ours, err = newHouse(); err != nil {
		return err
	}
	if err := b.plain.routeThroughTunnel(); err != nil {
		return err
	}
	if b.dnsmasq, err = b.plain.startDnsmasq(dnsmasqPort); err != nil {
		return err
	}
	b.nftset, err = b.plain.startNftset()
	return err
}

func (b *bench) close() error {
	var errs []error
	for _, h := range []*house{b.plain, b.ours} {
		if h != nil {
			errs = append(errs, h.close())
		}
	}
	return errors.Join(errs...)
}

// measureAll starts with what only a daemon that nobody has used can show, and
// ends without offloads, because there is no way back from there.
func (b *bench) measureAll() error {
	if err := b.measureFootprint(); err != nil {
		return err
	}
	routes, err := b.routes()
	if err != nil {
		return err
	}
	questions, err := b.questions()
	if err != nil {
		return err
	}
	measures := append(b.bulks(routes, ""), b.flows(routes), b.flowByFlow(routes), b.echoes(routes))
	measures = append(append(measures, b.blasts(routes)...), questions...)
	if err := b.measure(measures); err != nil {
		return err
	}
	for _, h := range []*house{b.plain, b.ours} {
		if err := h.dropOffloads(); err != nil {
			return err
		}
	}
	return b.measure(b.bulks(routes, ", no offloads"))
}

func (b *bench) measureFootprint() error {
	if !b.only.MatchString("footprint") {
		_, err := b.ours.serve(b.binary, b.logLevel)
		return err
	}
	f, err := b.footprint()
	if err != nil {
		return err
	}
	b.report.footprint(f)
	return nil
}

func (b *bench) measure(measures []measure) error {
	for _, m := range measures {
		if !b.only.MatchString(m.name) {
			continue
		}
		rounds, err := m.rounds(b.pairs, b.extra)
		if err != nil {
			return fmt.Errorf("%w\nthe daemon's log:\n%s", err, b.ours.daemon.Log())
		}
		b.report.add(m.results(rounds))
	}
	return nil
}
