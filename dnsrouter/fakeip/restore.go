package fakeip

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// restore fills a new pool from the journal, or from the snapshot when there
// is no journal that can be read, and opens the journal for what comes.
func (p *Pool) restore() {
	err := p.readFile(p.journal.path)
	switch {
	case err == nil:
		err = p.resume()
	case errors.Is(err, fs.ErrNotExist):
		err = p.readSnapshot()
	default:
		if moved := p.journal.setAside(); moved != nil {
			err = fmt.Errorf("%w; setting it aside: %w", err, moved)
		}
		err = errors.Join(err, p.readSnapshot())
	}
	if err != nil {
		p.log.Warn("fake addresses of before are not all known", "err", err, "names", p.names.count)
	}
	if p.journal.file == nil {
		p.journal.rewrite(p.All())
	}
}

// readSnapshot is content with there being none.
func (p *Pool) readSnapshot() error {
	if err := p.readFile(p.snapshot); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// readFile puts the names of a journal or a snapshot into the pool. Damaged
// records are left out and logged. Without a path there is no file.
func (p *Pool) readFile(path string) error {
	if path == "" {
		return fs.ErrNotExist
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	dropped, err := readJournal(f, p.journal.header, p.put)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	p.dropped += uint64(dropped)
	if dropped > 0 {
		p.log.Warn("fake address journal was damaged", "file", path, "dropped", dropped, "names", p.names.count)
	}
	return nil
}

// resume opens an undamaged journal for appending. A damaged one is left for
// rewrite to replace, so that nothing is appended behind a record cut off.
func (p *Pool) resume() error {
	if p.dropped > 0 {
		return nil
	}
	f, err := os.OpenFile(p.journal.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	p.journal.adopt(f, int(info.Size()))
	return nil
}

// put replays one assignment: whatever stood in its place stood there before it.
func (p *Pool) put(s Slot, name string) {
	if s > p.ranges.last { // MaxNames was higher
		return
	}
	for p.names.next <= s {
		p.names.extend()
	}
	p.names.spare = p.names.next
	if p.names.has(s) {
		p.names.remove(s)
	}
	if before := p.names.find(name); before != 0 {
		p.names.remove(before)
	}
	p.names.index = p.names.roomyIndex()
	p.names.put(s, name, 0) // as if answered now, the pool's second 0
	p.names.entry(s).use |= told
}
