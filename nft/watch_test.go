package nft

import (
	"context"
	"testing"
	"time"
)

// disturbances runs Watch for the test and gives what it hears.
func disturbances(t *testing.T, table *Table) <-chan Disturbance {
	t.Helper()
	heard := make(chan Disturbance, 64)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- table.Watch(ctx, func(d Disturbance) { heard <- d }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Watch = %v, want nil after its context ended", err)
		}
	})
	return heard
}

// hear makes noise until the watcher, which may not listen yet, hears it.
func hear(t *testing.T, heard <-chan Disturbance, noise func()) Disturbance {
	t.Helper()
	for deadline := time.After(10 * time.Second); ; {
		noise()
		select {
		case d := <-heard:
			return d
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			t.Fatal("the watcher heard nothing")
		}
	}
}

func TestWhatOthersDeleteIsHeard(t *testing.T) {
	needs(t, "nft")
	table := install(t, enterNetNS(t), house())
	heard := disturbances(t, table)
	elements := hear(t, heard, func() {
		tryRun("", "nft", "delete", "element", "inet", TableName, "alive", "{ ipv4 }")
		check(t, "Beat", table.Beat())
	})
	if !elements.Elements || elements.By == 0 {
		t.Errorf("a deleted element is heard as %+v, want Elements and who it was", elements)
	}
	for len(heard) > 0 {
		<-heard
	}
	flushed := hear(t, heard, func() { tryRun("", "nft", "flush", "ruleset") })
	if flushed.Elements {
		t.Errorf("a flush of everything is heard as %+v, want more than elements", flushed)
	}
}

func TestOurOwnChangesAreNotEvenReceived(t *testing.T) {
	needs(t, "nft")
	table := install(t, enterNetNS(t), house())
	c, err := table.listen()
	check(t, "listen", err)
	defer c.Close()
	check(t, "Beat", table.Beat())
	run(t, "", "nft", "delete", "element", "inet", TableName, "alive", "{ ipv4 }")
	check(t, "SetReadDeadline", c.SetReadDeadline(time.Now().Add(10*time.Second)))
	events, err := c.Receive()
	check(t, "Receive", err)
	for _, e := range events {
		if own := table.port(); e.Header.PID == own {
			t.Errorf("the first event is of port %d, which is our own, want that of nft", own)
		}
	}
}

func TestWhatWeDoOurselvesDisturbsNobody(t *testing.T) {
	needs(t, "nft")
	table := install(t, enterNetNS(t), house())
	heard := disturbances(t, table)
	hear(t, heard, func() {
		tryRun("", "nft", "delete", "element", "inet", TableName, "alive", "{ ipv4 }")
		check(t, "Beat", table.Beat())
	})
	for len(heard) > 0 {
		<-heard
	}
	for range 10 {
		check(t, "Beat", table.Beat())
		check(t, "Reload", table.Reload(build(t, house())))
	}
	tryRun("", "nft", "flush", "ruleset") // the first thing to be heard after all that
	if d := <-heard; d.Elements {
		t.Errorf("after our own changes %+v is heard first, want the flush of another", d)
	}
}
