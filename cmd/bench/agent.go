package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

// An agent is this program in a namespace of the lab, in a process of its own:
// it generates load, or serves it. It takes one order after the other, and
// ends when its standard input does.
type agent struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	orders *json.Encoder
	report *json.Decoder
}

// order is what an agent shall do.
type order struct {
	Do      string         // bulk flows hold release blast sunk echo ask
	To      netip.AddrPort // where to
	Name    string         // of the hello; of ask: the names, with zeros for their number
	For     time.Duration
	Streams int    // bulk, flows: at the same time; hold: how many
	Down    bool   // bulk: towards the client
	Size    int    // blast: bytes of a datagram
	Rate    int    // blast, ask: datagrams per second; 0: as many as possible
	Run     uint64 // blast, sunk: which run a datagram belongs to
	Names   int    // ask: how many different ones
	First   int    // ask: the number of the first
	Once    bool   // ask: each name once, whatever For is
	Alone   bool   // ask: one question after the other
}

// outcome is what came of an order.
type outcome struct {
	Error    string
	Elapsed  time.Duration
	Bytes    int64
	Count    int // flows, datagrams, answers
	Sent     int // blast, echo, ask
	Errors   int // flows that broke, answers that are none
	Why      string
	P50, P99 time.Duration
}

// agentFlag makes this program an agent: of a client, a server or a node.
const agentFlag = "-agent"

// startAgent runs an agent of a role in a namespace. What it serves takes every
// name for that of host.
func startAgent(ns *nstest.NS, role string, host netip.Addr) (*agent, error) {
	cmd := exec.Command("/proc/self/exe", agentFlag, role, host.String())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := ns.Start(cmd); err != nil {
		return nil, fmt.Errorf("starting the %s's agent: %w", role, err)
	}
	a := &agent{cmd: cmd, stdin: stdin, orders: json.NewEncoder(stdin), report: json.NewDecoder(stdout)}
	var ready outcome
	if err := a.report.Decode(&ready); err != nil {
		a.close()
		return nil, fmt.Errorf("starting the %s's agent: %w", role, err)
	}
	return a, nil
}

func (a *agent) pid() int { return a.cmd.Process.Pid }

// do has an order carried out and waits for its outcome.
func (a *agent) do(o order) (outcome, error) {
	var out outcome
	if err := a.orders.Encode(o); err != nil {
		return out, fmt.Errorf("ordering an agent to %s: %w", o.Do, err)
	}
	if err := a.report.Decode(&out); err != nil {
		return out, fmt.Errorf("waiting for an agent to %s: %w", o.Do, err)
	}
	if out.Error != "" {
		return out, fmt.Errorf("an agent doing %s to %s: %s", o.Do, o.To, out.Error)
	}
	return out, nil
}

func (a *agent) close() error {
	a.stdin.Close()
	return a.cmd.Wait()
}

// runAgent is the whole life of an agent.
func runAgent(role string, host netip.Addr) error {
	serve := map[string]func(*ground, netip.Addr) error{
		"client": func(*ground, netip.Addr) error { return nil },
		"server": serveInternet,
		"node":   serveNode,
	}[role]
	if serve == nil {
		return fmt.Errorf("there is no agent for a %s", role)
	}
	g := new(ground)
	if err := serve(g, host); err != nil {
		return err
	}
	orders, report := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	if err := report.Encode(outcome{}); err != nil {
		return err
	}
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		out, err := g.carryOut(o)
		if err != nil {
			out.Error = err.Error()
		}
		if err := report.Encode(out); err != nil {
			return err
		}
	}
}

// ground is what an agent holds from one order to the next.
type ground struct {
	sink sink
	held []io.Closer
}

func (g *ground) carryOut(o order) (outcome, error) {
	switch o.Do {
	case "bulk":
		return bulk(o)
	case "flows":
		return flows(o)
	case "hold":
		return g.hold(o)
	case "release":
		return g.release()
	case "blast":
		return blast(o)
	case "sunk":
		return g.sink.of(o.Run), nil
	case "echo":
		return echo(o)
	case "ask":
		return ask(o)
	}
	return outcome{}, fmt.Errorf("there is no order %q", o.Do)
}
