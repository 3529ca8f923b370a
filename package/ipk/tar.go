package ipk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Of the tar format: tar.h of GNU tar, and its manual, "Basic Tar Format".
const (
	block  = 512
	record = 20 * block // an archive is a multiple of this
	magic  = "ustar  \x00"

	regular   = '0'
	symlink   = '2'
	directory = '5'
)

// archive writes tar archives byte by byte as `tar --format=gnu --numeric-owner`
// does as root. The archive/tar of Go fills in device numbers and ends archives
// sooner; Installed-Size counts such bytes.
type archive struct {
	buf   bytes.Buffer
	mtime time.Time
}

// add writes one entry. The name of a directory ends in a slash.
func (a *archive) add(name string, kind byte, mode fs.FileMode, data []byte, target string) error {
	if len(name) > 100 || len(target) > 100 {
		return fmt.Errorf("adding %s to an archive: names have 100 bytes at most", name)
	}
	var h [block]byte
	copy(h[0:100], name)
	number(h[100:108], int64(mode.Perm()))
	number(h[108:116], 0) // user
	number(h[116:124], 0) // group
	number(h[124:136], int64(len(data)))
	number(h[136:148], a.mtime.Unix())
	copy(h[148:156], "        ") // the checksum counts itself as spaces
	h[156] = kind
	copy(h[157:257], target)
	copy(h[257:265], magic)
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	a.buf.Write(h[:])
	a.buf.Write(data)
	a.pad(block)
	return nil
}

// number writes octal digits and a zero byte.
func number(field []byte, n int64) {
	copy(field, fmt.Sprintf("%0*o\x00", len(field)-1, n))
}

func (a *archive) pad(to int) {
	if over := a.buf.Len() % to; over != 0 {
		a.buf.Write(make([]byte, to-over))
	}
}

// bytes ends the archive: two empty blocks, and zeros up to a whole record.
func (a *archive) bytes() ([]byte, error) {
	if a.mtime.Unix() < 0 {
		return nil, errors.New("writing an archive: times before 1970 have no place in it")
	}
	a.buf.Write(make([]byte, 2*block))
	a.pad(record)
	return a.buf.Bytes(), nil
}
