package uci

import (
	"fmt"
	"io"
	"os"
)

// MaxFile bounds what is read of a configuration file, in bytes.
const MaxFile = 1 << 20

// Read gives the text of a configuration file of OpenWrt's. The error is
// fs.ErrNotExist where there is none.
func Read(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(text) > MaxFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, MaxFile)
	}
	return string(text), err
}

// Stamp changes whenever the file at path is written, replaced, added or removed.
// It costs one stat(2).
func Stamp(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "none"
	}
	return fmt.Sprintf("%d %d", info.ModTime().UnixNano(), info.Size())
}
