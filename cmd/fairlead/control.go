package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// askTime bounds a conversation over the control socket, on either side. A
	// reload with large rule sets takes the longest, on a slow core.
	askTime = 30 * time.Second
	// maxRequest bounds what a client of the control socket may say.
	maxRequest = 4 << 10
)

// answer is what the daemon says over the control socket: the result of the
// one word that it was asked, or an error.
type answer struct {
	Error  string          `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// control answers over the control socket until ctx ends. That the socket is
// there means that the daemon serves.
func (d *daemon) control(ctx context.Context) error {
	path := d.gen.cfg.Control
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("opening the control socket: %w", err)
	}
	os.Remove(path) // what a crash left; the lock says that nobody serves it
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("opening the control socket: %w", err)
	}
	defer l.Close()
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("opening the control socket: %w", err)
	}
	var conversations sync.WaitGroup
	defer conversations.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serving the control socket: %w", err)
		case err != nil:
			wait(ctx, 50*time.Millisecond)
			continue
		}
		conversations.Go(func() { d.converse(ctx, c) })
	}
}

func (d *daemon) converse(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(askTime))
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) }) // who has asked gets an answer
	defer stop()
	line, err := bufio.NewReaderSize(c, maxRequest).ReadSlice('\n')
	if err != nil {
		return
	}
	var a answer
	result, err := d.obey(ctx, strings.TrimSpace(string(line)))
	if err == nil {
		a.Result, err = json.Marshal(result)
	}
	if err != nil {
		a = answer{Error: err.Error()}
	}
	json.NewEncoder(c).Encode(a)
}

// obey does what one word asks for.
func (d *daemon) obey(ctx context.Context, word string) (any, error) {
	switch word {
	case "status":
		return d.status(), nil
	case "clients":
		return d.clientList()
	case "leaks":
		return d.leakReport()
	case "reload":
		return nil, d.reload(ctx)
	}
	if number, ok := strings.CutPrefix(word, "asked "); ok {
		return d.asked(number)
	}
	return nil, fmt.Errorf("the control socket knows no word %q", word)
}

// asked gives what was asked of upstreams from a number on.
func (d *daemon) asked(number string) (any, error) {
	since, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is no number of a question: %w", number, err)
	}
	entries, next := d.machine.record.Since(since)
	return recordAnswer{entries, next}, nil
}

// errNotRunning says that nobody serves the control socket.
var errNotRunning = errors.New("no fairlead is running with this configuration")

// ask says one word to the daemon that runs with the configuration at path.
func ask(path, word string, result any) error { return askAt(placesOf(path).control, word, result) }

// askAt says one word to the daemon that serves a control socket.
func askAt(control, word string, result any) error {
	c, err := net.DialTimeout("unix", control, askTime)
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("asking the fairlead that runs: %w; ask as root", err)
	}
	if err != nil {
		return fmt.Errorf("%w (nobody serves %s): start it, or give its own by -c", errNotRunning, control)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(askTime))
	if _, err := fmt.Fprintln(c, word); err != nil {
		return fmt.Errorf("asking the running fairlead: %w", err)
	}
	var a answer
	switch err := json.NewDecoder(c).Decode(&a); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the running fairlead has not answered for %s: restart it if it does not soon", askTime)
	case err != nil:
		return fmt.Errorf("asking the running fairlead: %w", err)
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(a.Result, result)
}
