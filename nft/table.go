package nft

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// life is how long one heartbeat lasts. A daemon that hangs opens or closes the
// table that long after its last.
const life = 3 * time.Second

// due is how old the last heartbeat is when any other transaction takes the next
// one along. A daemon that is short of processor time has many that wait for
// their turn, and Beat would have to wait for all of them.
const due = time.Second

// ErrNotInstalled is returned for changes of a table that was not installed, or
// was deleted, through this Table.
var ErrNotInstalled = errors.New("the table is not installed")

// Options says where a Table is.
type Options struct {
	NetNS int          // file descriptor of the network namespace; 0: the calling thread's
	Log   *slog.Logger // nil: nothing is logged
}

// Table is the one writer of the kernel's table inet fairlead. Its methods may
// be called by several goroutines; each is one transaction, unless it says otherwise.
type Table struct {
	netns int
	log   *slog.Logger

	gathering gathering

	turn sync.Mutex // held by whoever replaces or deletes the table; taken before mu

	mu      sync.Mutex // guards the fields below, and keeps transactions in order
	wire    wire
	ruleset *Ruleset  // as installed last; nil: none
	beaten  time.Time // when a change renewed the heartbeat last
}

// Open prepares the writer. It changes nothing.
func Open(opts Options) (*Table, error) {
	t := &Table{netns: opts.NetNS, log: opts.Log, wire: wire{netns: opts.NetNS}}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if err := t.wire.open(); err != nil {
		return nil, fmt.Errorf("opening table %s: %w", TableName, err)
	}
	return t, nil
}

// Close gives the writer's socket back. The table stays as it is.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wire.close()
}

// Install puts the ruleset into the kernel in place of whatever table of that
// name is there, with the heartbeat beating, in one transaction. Those of the fake
// addresses that do not fit are added by further ones, and so are address rules:
// until they are there, the daemon decides. Which fake addresses, of which fakes
// is asked when nobody else can add any: what is added later is in the new table.
// Nil is none.
func (t *Table) Install(rs *Ruleset, fakes func() Fakes) error {
	t.turn.Lock()
	defer t.turn.Unlock()

	if err := t.install(rs, fakes); err != nil {
		return err
	}
	return t.fill(rs.addressMaps(nil))
}

func (t *Table) install(rs *Ruleset, fakes func() Fakes) error {
	t.mu.Lock()
	defer t.mu.Unlock()

	var now, later Fakes
	if fakes != nil {
		now, later = fakes().cut()
	}
	if err := t.create(rs, now); err != nil {
		return fmt.Errorf("installing table %s: %w", TableName, err)
	}
	for !later.none() {
		now, later = later.cut()
		err := t.commitChange("adding fake addresses", func(b *batch, _ *Ruleset) error { return now.add(b) })
		if err != nil {
			return err
		}
	}
	return nil
}

// create makes the table anew, with the fake addresses in it.
func (t *Table) create(rs *Ruleset, fakes Fakes) error {
	b := newBatch(TableName)
	b.addTable() // so that there is one to delete
	b.deleteTable()
	b.addTable()
	rs.create(b)
	beat(b)
	if err := fakes.add(b); err != nil {
		return err
	}
	if err := t.wire.commit(b); err != nil {
		return err
	}
	t.ruleset = rs
	t.log.Debug("table installed", "fingerprint", rs.Fingerprint(), "rules", rs.rules())
	return nil
}

// Reload turns the installed table into that of rs: chains and sets of the
// configuration are replaced, what was learned at run time is kept, and the
// heartbeat is renewed. Addresses that led to interfaces which are no more are
// relayed. After an error the old table stands, unless it was gone before: then
// Install is what helps. New address rules are added before that transaction, by
// several of their own.
func (t *Table) Reload(rs *Ruleset) error {
	t.turn.Lock()
	defer t.turn.Unlock()

	installed := t.installed()
	if installed == nil {
		return fmt.Errorf("reloading table %s: %w", TableName, ErrNotInstalled)
	}
	maps := rs.addressMaps(installed)
	err := t.stage(rs, maps)
	if err == nil {
		err = t.reload(rs)
	}
	if err != nil {
		return fmt.Errorf("reloading table %s: %w", TableName, errors.Join(err, t.unstage(rs, maps)))
	}
	return nil
}

// installed is the ruleset as installed last. Whoever has the turn may rely on it.
func (t *Table) installed() *Ruleset {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ruleset
}

func (t *Table) reload(rs *Ruleset) error {
	t.mu.Lock()
	defer t.mu.Unlock()

	if err := t.retire(rs); err != nil {
		return err
	}
	b := newBatch(TableName)
	rs.replace(b, t.ruleset)
	beat(b)
	if err := t.wire.commit(b); err != nil {
		return err
	}
	t.ruleset = rs
	t.log.Debug("table reloaded", "fingerprint", rs.Fingerprint(), "rules", rs.rules())
	return nil
}

// Delete removes the table, whoever installed it. There need not be one.
func (t *Table) Delete() error {
	t.turn.Lock()
	defer t.turn.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()

	b := newBatch(TableName)
	b.addTable()
	b.deleteTable()
	if err := t.wire.commit(b); err != nil {
		return fmt.Errorf("deleting table %s: %w", TableName, err)
	}
	t.ruleset = nil
	return nil
}

// Beat keeps new flows diverted for three seconds more.
func (t *Table) Beat() error {
	return t.change("renewing the heartbeat", func(b *batch, _ *Ruleset) error {
		beat(b)
		return nil
	})
}

func beat(b *batch) {
	renew(b, set{name: aliveSet}, []element{
		{key: v4().proto, timeout: life},
		{key: v6().proto, timeout: life},
	})
}

// renew makes elements live from now on, whether they are there or not: a kernel
// before 6.12 does not change the timeout of one that is, and refuses to delete
// one that is not.
func renew(b *batch, s set, elements []element) {
	b.addElements(s, 0, elements)
	b.deleteElements(s, elements)
	b.addElements(s, 0, elements)
}

// change commits one transaction upon the installed table. An element that
// expires between the add and the delete of the same transaction makes older
// kernels refuse it, so ENOENT is tried once more.
func (t *Table) change(doing string, fill func(b *batch, installed *Ruleset) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.commitChange(doing, fill)
}

// commitChange is change for those who hold the lock.
func (t *Table) commitChange(doing string, fill func(b *batch, installed *Ruleset) error) error {
	if t.ruleset == nil {
		return fmt.Errorf("%s: %w", doing, ErrNotInstalled)
	}
	b := newBatch(TableName)
	if err := fill(b, t.ruleset); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if len(b.messages) == 0 {
		return nil
	}
	now := time.Now()
	beats := now.Sub(t.beaten) >= due
	if beats {
		beat(b)
	}
	err := t.wire.commit(b)
	if errors.Is(err, unix.ENOENT) {
		err = t.wire.commit(b)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if beats {
		t.beaten = now
	}
	return nil
}
