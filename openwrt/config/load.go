package config

import (
	"fmt"
	"io"
	"os"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// maxFile bounds a configuration file, in bytes: a list that is longer belongs
// into a rule set.
const maxFile = 4 << 20

// Opener opens a rule set by its path. The error is fs.ErrNotExist where there is
// none.
type Opener func(path string) (io.ReadCloser, error)

// Load reads the configuration file at path, and the rule sets that its rules
// use. See Parse for what it returns.
func Load(path string, strict bool) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the configuration: %w", err)
	}
	defer f.Close()
	return Parse(path, f, func(path string) (io.ReadCloser, error) { return os.Open(path) }, strict)
}

// Parse reads a configuration that mistakes call path. If anything is wrong
// with it, the error is a Mistakes, and the Config holds File and Warnings
// only. Unknown sections and options are mistakes if strict, as `fairlead
// check` wants them, and warnings if not, so that an older version runs with
// the configuration of a newer one.
func Parse(path string, r io.Reader, open Opener, strict bool) (*Config, error) {
	text, err := read(path, r)
	if err != nil {
		return nil, err
	}
	file, unread := uci.Parse(text)

	b := newBuilder(path, open, strict)
	b.syntax(unread)
	b.migrate(file, renames())
	b.collect(file)
	cfg := b.build()
	b.references(cfg)
	cfg.DNS.TimeServers = b.timeServers()
	essentials := b.essentials(cfg.DNS.TimeServers)
	if len(b.mistakes) > 0 {
		return &Config{File: path, Warnings: b.warnings.sorted()}, b.mistakes.sorted()
	}
	b.advise(cfg)
	cfg.Policy = withEssentials(cfg.Policy, essentials)
	withDoHBlocked(cfg)
	cfg.Warnings = b.warnings.sorted()
	return cfg, nil
}

// readFile is the text of the configuration file at path.
func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("opening the configuration: %w", err)
	}
	defer f.Close()
	return read(path, f)
}

func read(path string, r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("reading the configuration: %w", err)
	}
	if len(text) > maxFile {
		return "", fmt.Errorf("reading the configuration: %s has more than %d bytes", path, maxFile)
	}
	return string(text), nil
}
