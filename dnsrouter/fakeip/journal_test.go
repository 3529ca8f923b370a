package fakeip

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// config is of a pool with 14 slots and a journal at path.
func config(path string) Config {
	return Config{
		Prefix4: netip.MustParsePrefix("198.18.0.0/28"),
		Prefix6: netip.MustParsePrefix("2001:2::/64"),
		Journal: path,
		Keep:    5 * time.Second,
	}
}

func mustOpen(t *testing.T, cfg Config) *Pool {
	t.Helper()
	p, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustClose(t *testing.T, p *Pool) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// crash leaves a pool as a kill -9 would, but for its descriptor.
func crash(p *Pool) {
	if p.journal.file != nil {
		p.journal.file.Close()
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sample is a journal of ten names, and where in it their records are.
func sample(t *testing.T) (journal []byte, records []record) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	p := mustOpen(t, config(path))
	start := len(read(t, path))
	for i := range 10 {
		name := strings.Repeat("x", i) + fmt.Sprint(i, ".example")
		s, _, _ := p.Assign(name)
		end := len(read(t, path))
		records = append(records, record{s, name, start, end})
		start = end
	}
	mustClose(t, p)
	return read(t, path), records
}

// record is a record and its place in a journal.
type record struct {
	slot       Slot
	name       string
	start, end int
}

// checkRestored opens a damaged journal and checks that exactly the records
// wanted are there, and that a loss is spoken of.
func checkRestored(t *testing.T, path string, want map[Slot]string, damaged bool) {
	t.Helper()
	cfg := config(path)
	log, out := logged()
	cfg.Log = log
	p := mustOpen(t, cfg)
	if got := maps.Collect(p.All()); !maps.Equal(got, want) {
		t.Fatalf("restored %v, want %v", got, want)
	}
	if said := out.Len() > 0; said != damaged {
		t.Fatalf("log = %q; damaged: %t", out, damaged)
	}
	name := "one more"
	mustAssign(t, p, name)
	crash(p)

	again := mustOpen(t, config(path))
	if _, ok := again.slotOf(name); !ok || again.Stats().Names != len(want)+1 || again.Stats().Dropped != 0 {
		t.Fatalf("after the repair: %+v, want %d names and none dropped", again.Stats(), len(want)+1)
	}
	mustClose(t, again)
}

func TestAJournalCutAnywhereKeepsWhatIsWhole(t *testing.T) {
	whole, records := sample(t)
	path := filepath.Join(t.TempDir(), "journal")
	for cut := range whole {
		write(t, path, whole[:cut])
		want, damaged := map[Slot]string{}, cut != records[0].start
		for _, r := range records {
			if r.end <= cut {
				want[r.slot] = r.name
				damaged = damaged && cut != r.end
			}
		}
		checkRestored(t, path, want, damaged)
	}
}

func TestAJournalFlippedAnywhereLosesOneRecord(t *testing.T) {
	whole, records := sample(t)
	path := filepath.Join(t.TempDir(), "journal")
	for at := range whole {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 1 << (at % 8)
		write(t, path, flipped)
		want := map[Slot]string{}
		for _, r := range records {
			if at >= records[0].start && (at < r.start || at >= r.end) {
				want[r.slot] = r.name
			}
		}
		checkRestored(t, path, want, true)
	}
}

func TestAJournalOfOtherRangesIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	for _, ranges := range []string{"198.18.0.0/28", "198.18.0.0/24", "10.0.0.0/8"} {
		before, _ := os.ReadFile(path)
		log, out := logged()
		cfg := config(path)
		cfg.Prefix4, cfg.Log = netip.MustParsePrefix(ranges), log
		p := mustOpen(t, cfg)
		if got := p.Stats().Names; got != 0 {
			t.Fatalf("%s: %d names of other ranges were restored", ranges, got)
		}
		if before != nil && !bytes.Equal(read(t, path+".old"), before) {
			t.Fatalf("%s: the journal of before was not set aside", ranges)
		}
		if before != nil && !strings.Contains(out.String(), "not a journal of these ranges") {
			t.Fatalf("%s: log = %q", ranges, out)
		}
		mustAssign(t, p, "example.com")
		mustClose(t, p)
	}
}

func TestAJournalThatCannotBeReadIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	if err := os.Mkdir(path, 0o700); err != nil { // can be opened, but not read
		t.Fatal(err)
	}
	log, out := logged()
	cfg := config(path)
	cfg.Log = log
	p := mustOpen(t, cfg)
	mustAssign(t, p, "example.com")
	mustClose(t, p)
	if !strings.Contains(out.String(), "is a directory") {
		t.Errorf("log = %q", out)
	}
	p = mustOpen(t, config(path))
	if got := p.Stats().Names; got != 1 {
		t.Errorf("%d names were restored, want 1", got)
	}
	mustClose(t, p)
}

func TestASlotThatLostItsRecordIsGivenToAnotherName(t *testing.T) {
	whole, records := sample(t)
	path := filepath.Join(t.TempDir(), "journal")
	whole[records[4].end-1] ^= 1
	write(t, path, whole)
	p := mustOpen(t, config(path))
	for i := range 4 {
		mustAssign(t, p, fmt.Sprint("behind all others ", i))
	}
	if s, _, ok := p.Assign("in the gap"); !ok || s != records[4].slot {
		t.Errorf("Assign = %d, %t; want the slot that was lost, %d", s, ok, records[4].slot)
	}
	if s, _, ok := p.Assign("one too many"); ok {
		t.Errorf("Assign = %d: a name restored just now lost its slot", s)
	}
	mustClose(t, p)
}

func TestSlotsBeyondALowerBoundAreLeftOut(t *testing.T) {
	whole, records := sample(t)
	path := filepath.Join(t.TempDir(), "journal")
	write(t, path, whole)
	cfg := config(path)
	cfg.MaxNames = 4
	p := mustOpen(t, cfg)
	want := map[Slot]string{}
	for _, r := range records[:4] {
		want[r.slot] = r.name
	}
	if got := maps.Collect(p.All()); !maps.Equal(got, want) {
		t.Errorf("restored %v, want %v", got, want)
	}
	mustClose(t, p)
}

func TestAHugeJournalOfNothingIsGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	p := mustOpen(t, config(path))
	mustAssign(t, p, "example.com")
	mustClose(t, p)
	if err := os.Truncate(path, 1<<40); err != nil { // sparse: reading it all would take hours
		t.Fatal(err)
	}
	p = mustOpen(t, config(path))
	if got := p.Stats(); got.Names != 1 || got.Dropped != 1 {
		t.Errorf("Stats = %+v, want one name and one stretch dropped", got)
	}
	mustClose(t, p)
	if got := len(read(t, path)); got > 1000 {
		t.Errorf("the journal still has %d bytes", got)
	}
}

func TestTheJournalStaysWithinTwiceWhatIsInForce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	cfg := config(path)
	cfg.Prefix4 = netip.MustParsePrefix("198.18.0.0/24")
	c := newClock()
	cfg.Now = c.Now
	p := mustOpen(t, cfg)
	for i := range 20_000 {
		mustAssign(t, p, fmt.Sprintf("host%d.example.com", i))
		c.advance(time.Second)
	}
	want := maps.Collect(p.All())
	live := 0
	for _, name := range want {
		live += recordOverhead + len(name)
	}
	if got := len(read(t, path)); got > 2*live+minWaste+1000 {
		t.Errorf("the journal has %d bytes, %d of them in force", got, live)
	}
	crash(p)
	p = mustOpen(t, cfg)
	if got := maps.Collect(p.All()); !maps.Equal(got, want) {
		t.Errorf("restored %d names, not all of the %d that were in force", len(got), len(want))
	}
	mustClose(t, p)
}

func TestASnapshotOutlivesTheJournal(t *testing.T) {
	dir := t.TempDir()
	cfg := config(filepath.Join(dir, "journal"))
	cfg.Snapshot = filepath.Join(dir, "snapshot")
	p := mustOpen(t, cfg)
	mustAssign(t, p, "a.example")
	mustAssign(t, p, "b.example")
	want := maps.Collect(p.All())
	mustClose(t, p)

	if err := os.Remove(cfg.Journal); err != nil {
		t.Fatal(err)
	}
	p = mustOpen(t, cfg)
	if got := maps.Collect(p.All()); !maps.Equal(got, want) {
		t.Errorf("restored %v, want %v", got, want)
	}
	mustAssign(t, p, "c.example")
	want = maps.Collect(p.All())
	crash(p) // the snapshot is now older than the journal
	p = mustOpen(t, cfg)
	if got := maps.Collect(p.All()); !maps.Equal(got, want) {
		t.Errorf("restored %v, want %v", got, want)
	}
	mustClose(t, p)
}

func TestASnapshotThatCannotBeUsedOrWrittenIsSpokenOf(t *testing.T) {
	dir := t.TempDir()
	log, out := logged()
	cfg := config("")
	cfg.Snapshot, cfg.Log = filepath.Join(dir, "snapshot"), log
	write(t, cfg.Snapshot, []byte("something else"))
	p := mustOpen(t, cfg)
	if !strings.Contains(out.String(), "not a journal of these ranges") {
		t.Errorf("log = %q", out)
	}
	mustClose(t, p)

	cfg.Snapshot = filepath.Join(dir, "missing", "snapshot")
	p = mustOpen(t, cfg)
	if err := p.Close(); err == nil || !strings.HasPrefix(err.Error(), "saving fake address snapshot: ") {
		t.Errorf("Close = %v, want an error about the snapshot", err)
	}
}

func FuzzJournal(f *testing.F) {
	header := journalFormat + " 198.18.0.0/28 2001:2::/64\n"
	good := appendRecord(appendRecord([]byte(header), 1, "example.com"), 2, "example.net")
	f.Add([]byte{})
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(append([]byte(header), "rubbish"...))
	f.Add(appendRecord(appendRecord(bytes.Clone(good), 3, "example.com"), 1, "example.net"))
	f.Fuzz(func(t *testing.T, journal []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		write(t, path, journal)
		p := mustOpen(t, config(path))
		checkBijection(t, p)
		p.Assign("one more")
		want := maps.Collect(p.All())
		mustClose(t, p)

		p = mustOpen(t, config(path))
		if got := maps.Collect(p.All()); !maps.Equal(got, want) {
			t.Errorf("restored %v, want %v", got, want)
		}
		mustClose(t, p)
	})
}
