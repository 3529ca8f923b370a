package ubus_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/openwrt/ubus"
	"github.com/fairlead/fairlead/openwrt/ubus/ubustest"
)

func bus(t *testing.T) (*ubustest.Server, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ubus.sock")
	s, err := ubustest.Start(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.Handle("network.interface", map[string]ubustest.Method{
		"dump": func() (ubustest.Table, uint32) {
			return ubustest.Of("interface", ubustest.Array{ubustest.Of("interface", "lan", "up", true, "l3_device", "br-lan")}), 0
		},
		"up": func() (ubustest.Table, uint32) { return nil, uint32(ubus.PermissionDenied) },
	})
	s.Handle("secret", nil)
	return s, path
}

func dial(t *testing.T, path string) *ubus.Conn {
	t.Helper()
	c, err := ubus.Dial(soon(t), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// next is the next event.
func next(t *testing.T, c *ubus.Conn) ubus.Event {
	t.Helper()
	select {
	case e, ok := <-c.Events():
		if !ok {
			t.Fatalf("the connection ended: %v", c.Err())
		}
		return e
	case <-soon(t).Done():
		t.Fatal("no event came")
		return ubus.Event{}
	}
}

func TestAMethodIsCalled(t *testing.T) {
	_, path := bus(t)
	v, err := dial(t, path).Call(soon(t), "network.interface", "dump", ubus.Table{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range v.Get("interface").All() {
		got = append(got, i.Get("interface").Text(), i.Get("l3_device").Text())
		if !i.Get("up").Bool() {
			t.Error("the interface is down, want it up")
		}
	}
	if want := []string{"lan", "br-lan"}; !slices.Equal(got, want) {
		t.Errorf("the interfaces are %v, want %v", got, want)
	}
}

func TestARefusalSaysWhy(t *testing.T) {
	_, path := bus(t)
	c := dial(t, path)
	for _, tt := range []struct {
		object, method string
		want           ubus.Status
	}{
		{"nobody", "dump", ubus.NotFound},
		{"network.interface", "up", ubus.PermissionDenied},
		{"network.interface", "fly", 3},
		{"secret", "tell", ubus.PermissionDenied},
	} {
		if _, err := c.Call(soon(t), tt.object, tt.method, ubus.Table{}); !errors.Is(err, tt.want) {
			t.Errorf("calling %s of %s: %v, want %v", tt.method, tt.object, err, tt.want)
		}
	}
}

func TestCallsAtTheSameTimeGetTheirOwnAnswers(t *testing.T) {
	s, path := bus(t)
	for _, name := range []string{"a", "b", "c"} {
		s.Handle(name, map[string]ubustest.Method{"name": func() (ubustest.Table, uint32) { return ubustest.Of("name", name), 0 }})
	}
	c := dial(t, path)
	var calls sync.WaitGroup
	for i := range 30 {
		calls.Go(func() {
			name := string(rune('a' + i%3))
			v, err := c.Call(soon(t), name, "name", ubus.Table{})
			if got := v.Get("name").Text(); got != name {
				t.Errorf("%s answered %q, %v, want its own name", name, got, err)
			}
		})
	}
	calls.Wait()
}

func TestANotificationIsHeard(t *testing.T) {
	s, path := bus(t)
	c := dial(t, path)
	if err := c.Subscribe(soon(t), "network.interface"); err != nil {
		t.Fatal(err)
	}
	s.Notify("network.interface", "interface.update", ubustest.Of("interface", "wan"))
	if e := next(t, c); e.Name != "interface.update" || e.Data.Get("interface").Text() != "wan" {
		t.Errorf("heard %q of %q, want the update of wan", e.Name, e.Data.Get("interface").Text())
	}
	s.Remove("network.interface")
	if e := next(t, c); e.Name != "" {
		t.Errorf("heard %q, want that the object is gone", e.Name)
	}
}

func TestAnEventIsHeardIfItsNameWasAskedFor(t *testing.T) {
	s, path := bus(t)
	c := dial(t, path)
	for _, pattern := range []string{"ubus.object.*", "network.interface"} {
		if err := c.Listen(soon(t), pattern); err != nil {
			t.Fatal(err)
		}
	}
	s.Send("network.interface.other", nil)
	s.Handle("dnsmasq", nil)
	s.Send("network.interface", ubustest.Of("action", "ifup"))
	if e := next(t, c); e.Name != "ubus.object.add" || e.Data.Get("path").Text() != "dnsmasq" {
		t.Errorf("heard %q of %q, want that dnsmasq came", e.Name, e.Data.Get("path").Text())
	}
	if e := next(t, c); e.Name != "network.interface" || e.Data.Get("action").Text() != "ifup" {
		t.Errorf("heard %q, want that an interface came up", e.Name)
	}
}

func TestAConnectionThatEndsSaysSo(t *testing.T) {
	s, path := bus(t)
	c := dial(t, path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case _, more := <-c.Events():
		if more {
			t.Error("an event came, want the end")
		}
	case <-soon(t).Done():
		t.Fatal("the end was not told")
	}
	if _, err := c.Call(soon(t), "network.interface", "dump", ubus.Table{}); err == nil {
		t.Error("a call after the end succeeded")
	}
	if c.Err() == nil {
		t.Error("nothing says why the connection ended")
	}
}

func TestEventsThatNobodyFetchesEndTheConnection(t *testing.T) {
	s, path := bus(t)
	c := dial(t, path)
	if err := c.Listen(soon(t), "flood"); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		s.Send("flood", nil)
	}
	err, n := c.Err(), 0 // nobody fetches before the end
	for range c.Events() {
		n++
	}
	if n != 256 || err == nil {
		t.Errorf("%d events came, and the end because of %v; want 256 and a reason", n, err)
	}
}

func TestDialGivesUpWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mute.sock")
	ln, err := net.Listen("unix", path) // never greets
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := ubus.Dial(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial = %v, want the deadline", err)
	}
	if _, err := ubus.Dial(ctx, filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial without ubusd = %v, want that there is none", err)
	}
}

func TestACallGivesUpWithItsContext(t *testing.T) {
	s, path := bus(t)
	release := make(chan struct{})
	s.Handle("slow", map[string]ubustest.Method{"wait": func() (ubustest.Table, uint32) { <-release; return nil, 0 }})
	c := dial(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Call(ctx, "slow", "wait", ubus.Table{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Call = %v, want the deadline", err)
	}
	close(release)
	if _, err := c.Call(soon(t), "network.interface", "dump", ubus.Table{}); err != nil {
		t.Errorf("the next call: %v, want none disturbed by the late answer", err)
	}
}
