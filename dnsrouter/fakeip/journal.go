package fakeip

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"log/slog"
	"os"
	"time"
	"unsafe"
)

// A journal begins with a line that names its format and the ranges its slots
// belong to. Behind it is a record for every assignment, later ones override
// earlier ones:
//
//	1 byte   length of the name
//	4 bytes  slot, big-endian
//	...      name
//	4 bytes  CRC-32 (IEEE) of all before, big-endian
const (
	journalFormat  = "fairlead fakeip 1"
	recordHead     = 1 + 4
	recordOverhead = recordHead + 4
)

const (
	// maxGarbage ends the reading of a journal that holds no good record for
	// so many bytes, which bounds the time a start can take. It is more than
	// any single damage to a file system's block.
	maxGarbage = 64 << 10

	// minWaste spares small journals from being written anew all the time.
	minWaste = 64 << 10

	// retryAfter is how long a journal that failed is left alone: a file
	// system that is full is likely to be full for a while.
	retryAfter = 30 * time.Second
)

// errForeign is of a journal that has other ranges, another version, or is none.
var errForeign = errors.New("not a journal of these ranges")

// journal appends assignments to a file. One write call a record is enough for
// it to survive the death of the process.
type journal struct {
	path   string // empty: nothing is written
	header string
	now    func() time.Time
	log    *slog.Logger

	file   *os.File // nil: none could be written
	size   int      // bytes of file
	buf    []byte   // the record that is being written
	failed bool     // and the log says so
	retry  time.Time
}

func newJournal(path string, r ranges, now func() time.Time, log *slog.Logger) journal {
	return journal{path: path, header: journalFormat + " " + r.String() + "\n", now: now, log: log}
}

// append records that the name, which is not yet among those in force, gets
// the slot. count and bytes tell how many names are in force and how long they
// are together. What fails is logged, and made good by a later call.
func (j *journal) append(s Slot, name string, count, bytes int, inForce iter.Seq2[Slot, string]) {
	if j.path == "" {
		return
	}
	live := len(j.header) + count*recordOverhead + bytes
	if j.file == nil || j.size > 2*live+minWaste {
		j.rewrite(inForce)
	}
	if j.file == nil {
		return
	}
	j.buf = appendRecord(j.buf[:0], s, name)
	n, err := j.file.Write(j.buf)
	j.size += n
	if err != nil {
		j.file.Close()
		j.file = nil // from here on it would be a journal with a gap
		j.fail(fmt.Errorf("appending to journal: %w", err))
	}
}

// rewrite replaces the journal by one that holds only what is in force. If
// that fails, an open journal stays as it was.
func (j *journal) rewrite(inForce iter.Seq2[Slot, string]) {
	if j.path == "" || j.now().Before(j.retry) {
		return
	}
	f, size, err := writeJournal(j.path, j.header, inForce)
	if err != nil {
		j.fail(fmt.Errorf("writing journal anew: %w", err))
		return
	}
	j.adopt(f, size)
	if j.failed {
		j.failed = false
		j.log.Info("fake addresses are recorded again", "journal", j.path)
	}
}

// adopt goes on with f, an open journal that holds what is in force.
func (j *journal) adopt(f *os.File, size int) {
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.size = f, size
}

func (j *journal) fail(err error) {
	j.retry = j.now().Add(retryAfter)
	if !j.failed {
		j.failed = true
		j.log.Warn("fake addresses are not recorded: after a crash names may get others", "err", err)
	}
}

// setAside moves a journal that is of no use out of the way, over the last such one.
func (j *journal) setAside() error {
	return os.Rename(j.path, j.path+".old")
}

// copyTo writes what is in force to another file.
func (j *journal) copyTo(path string, inForce iter.Seq2[Slot, string]) error {
	f, _, err := writeJournal(path, j.header, inForce)
	if err != nil {
		return err
	}
	return f.Close()
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}

// writeJournal replaces the file at path, whole or not at all, and leaves it
// open for appending.
func writeJournal(path, header string, records iter.Seq2[Slot, string]) (f *os.File, size int, err error) {
	temporary := path + ".new"
	f, err = os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, 0, err
	}
	size, err = writeRecords(f, header, records)
	if err == nil {
		err = f.Sync() // else a power cut can leave the name with nothing behind it
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		f.Close()
		os.Remove(temporary) // it may be what fills the file system
		return nil, 0, err
	}
	return f, size, nil
}

func writeRecords(w io.Writer, header string, records iter.Seq2[Slot, string]) (size int, err error) {
	b := bufio.NewWriterSize(w, 32<<10)
	b.WriteString(header)
	size = len(header)
	for s, name := range records {
		b.Write(appendRecord(b.AvailableBuffer(), s, name))
		size += recordOverhead + len(name)
	}
	return size, b.Flush()
}

func appendRecord(dst []byte, s Slot, name string) []byte {
	start := len(dst)
	dst = append(dst, byte(len(name)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(s))
	dst = append(dst, name...)
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}

// readJournal gives every good record to put, in order, and counts the damaged
// stretches between them. A name is valid until put returns. The error is
// errForeign or one of reading.
func readJournal(r io.Reader, header string, put func(Slot, string)) (dropped int, err error) {
	b := bufio.NewReaderSize(r, 32<<10)
	switch start, err := b.Peek(len(header)); {
	case err != nil && err != io.EOF:
		return 0, err
	case string(start) != header:
		return 0, errForeign
	}
	b.Discard(len(header))

	garbage := 0
	for garbage <= maxGarbage {
		s, name, size, err := peekRecord(b)
		if err == io.EOF {
			return dropped, nil
		}
		if err != nil {
			return dropped, err
		}
		if size > 0 {
			put(s, name)
			b.Discard(size)
			garbage = 0
			continue
		}
		if garbage == 0 {
			dropped++
		}
		b.Discard(1) // the next good record may begin anywhere
		garbage++
	}
	return dropped, nil
}

// peekRecord reads the record at b's position without moving on, so that the name
// is valid until b does. Its size is 0 if there is none; the error is io.EOF at
// the very end.
func peekRecord(b *bufio.Reader) (s Slot, name string, size int, err error) {
	head, err := b.Peek(recordHead)
	if len(head) == 0 || err != nil && err != io.EOF {
		return 0, "", 0, err
	}
	if len(head) < recordHead {
		return 0, "", 0, nil
	}
	length, s := int(head[0]), Slot(binary.BigEndian.Uint32(head[1:]))
	if length == 0 || s == 0 || s > maxSlots {
		return 0, "", 0, nil
	}
	record, err := b.Peek(length + recordOverhead)
	if err != nil && err != io.EOF {
		return 0, "", 0, err
	}
	if err == io.EOF {
		return 0, "", 0, nil
	}
	end := len(record) - 4
	if crc32.ChecksumIEEE(record[:end]) != binary.BigEndian.Uint32(record[end:]) {
		return 0, "", 0, nil
	}
	return s, unsafe.String(&record[recordHead], length), len(record), nil
}
