package dnsrouter

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/fairlead/fairlead/dnsrouter/fakeip"
)

// fakeTable is a table that can be told of fake addresses, and made anew.
type fakeTable struct {
	pool *fakeip.Pool

	mu     sync.Mutex // guards the fields below
	single map[netip.Addr]bool
	blocks map[netip.Prefix]bool
}

func newFakeTable(pool *fakeip.Pool) *fakeTable {
	return &fakeTable{pool: pool, single: make(map[netip.Addr]bool), blocks: make(map[netip.Prefix]bool)}
}

func (f *fakeTable) AddFake(v4, _ netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.single[v4] = true
	return nil
}

func (f *fakeTable) SetFake(netip.Addr, netip.Addr, Way) error { return nil }

func (f *fakeTable) AddFakeBlock(v4, _ netip.Prefix) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blocks[v4] = true
	return nil
}

func (f *fakeTable) DelFakeBlocks(which func() (blocks [][2]netip.Prefix, used [][2]netip.Addr)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	blocks, used := which()
	for _, pair := range used {
		f.single[pair[0]] = true
	}
	for _, pair := range blocks {
		delete(f.blocks, pair[0])
	}
	return nil
}

// install makes the table anew.
func (f *fakeTable) install() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.single)
	clear(f.blocks)
	blocks, single := f.pool.Known()
	for _, first := range blocks {
		v4, _ := f.pool.Block(first)
		f.blocks[v4] = true
	}
	for _, s := range single {
		v4, _ := f.pool.Addrs(s)
		f.single[v4] = true
	}
}

func (f *fakeTable) knows(addr netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.single[addr] || f.blocks[netip.PrefixFrom(addr, 24).Masked()]
}

// streamed is a network with fake addresses for many names, and what its kernel
// knows of them.
func streamed(t *testing.T) (*lan, *fakeTable) {
	l := newLAN(t, func(p *Plan) {
		p.Config.Fake4, p.Config.Fake6 = netip.MustParsePrefix("198.18.0.0/18"), netip.MustParsePrefix("2001:2::/64")
	})
	table := newFakeTable(l.pool)
	l.deps.Fakes, l.deps.Blocks = table, table
	return l, table
}

// atOnce asks as the reader of the socket does, and says whether it was given the
// answer, which else is given later.
func (l *lan) atOnce(name string) (addr netip.Addr, ok bool) {
	l.t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), dns.TypeA)
	raw, err := m.Pack()
	if err != nil {
		l.t.Fatal(err)
	}
	hurry := true
	reply, err := l.answer(l.t.Context(), &question{hurry: true}, raw, laptop, 0)
	if errors.Is(err, errLater) {
		hurry = false
		reply, err = l.answer(l.t.Context(), new(question), raw, laptop, 0)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	got := new(dns.Msg)
	if err := got.Unpack(reply); err != nil || len(addrs(got)) != 1 {
		l.t.Fatalf("%s is answered with %v, %v", name, got, err)
	}
	return netip.MustParseAddr(addrs(got)[0]), hurry
}

func TestNewNamesInAStreamNeedNotWaitForTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, table := streamed(t)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.TellAhead(ctx) }()

		names := 0
		ask := func() (netip.Addr, bool) {
			names++
			return l.atOnce(fmt.Sprintf("n%d.foreign.example", names))
		}
		for range streamNames - 1 {
			if addr, ok := ask(); ok {
				t.Fatalf("name %d, with which there was no stream yet, got %s without the kernel being told", names, addr)
			}
		}
		ask() // it may be told of before the name has its address
		synctest.Wait()
		if n := len(table.blocks); n != 1 {
			t.Fatalf("with a stream %d blocks are known, want 1", n)
		}
		var last netip.Addr
		for range 1000 {
			addr, ok := ask()
			if !ok || !table.knows(addr) {
				t.Fatalf("name %d of a stream got %s, at once: %t, known: %t; want both", names, addr, ok, table.knows(addr))
			}
			last = addr
			synctest.Wait() // the kernel is told meanwhile
		}

		time.Sleep(reservedTime)
		synctest.Wait()
		if next := last.Next(); table.knows(next) || !table.knows(last) {
			t.Errorf("when the stream is over the last address is known: %t, the next one: %t; want true, false", table.knows(last), table.knows(next))
		}
		addr, ok := ask()
		if ok || addr != last.Next() {
			t.Errorf("the next name got %s, at once: %t; want %s, false", addr, ok, last.Next())
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("TellAhead = %v", err)
		}
	})
}

func TestAPageIsNoStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, table := streamed(t)
		ctx, stop := context.WithCancel(t.Context())
		go l.TellAhead(ctx)
		for page := range 5 {
			for i := range streamNames - 1 {
				l.atOnce(fmt.Sprintf("n%d.page%d.foreign.example", i, page))
			}
			synctest.Wait()
			if n := len(table.blocks); n != 0 {
				t.Fatalf("with page %d %d blocks are known, want none", page, n)
			}
			time.Sleep(streamTime)
		}
		stop()
	})
}

func TestEveryFakeAddressAnsweredIsKnownToTheKernel(t *testing.T) {
	l, table := streamed(t)
	const askers, each = 4, 1500
	var asking, meddling sync.WaitGroup
	done := make(chan struct{})
	for _, meddle := range []func(){func() { l.reserve(); l.unreserve() }, table.install} {
		meddling.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					meddle()
				}
			}
		})
	}
	for asker := range askers {
		asking.Go(func() {
			for i := range each {
				name := fmt.Sprintf("n%d.foreign.example", (asker*each/askers+i)%each) // others ask for it, too
				if addr, _ := l.atOnce(name); !table.knows(addr) {
					t.Errorf("%s was answered with %s, which the kernel does not know", name, addr)
				}
			}
		})
	}
	asking.Wait()
	close(done)
	meddling.Wait()
	for slot, name := range l.pool.All() {
		if addr, _ := l.pool.Addrs(slot); !table.knows(addr) {
			t.Errorf("%s has %s, which the kernel does not know any more", name, addr)
		}
	}
}
