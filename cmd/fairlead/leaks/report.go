package leaks

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// kept is how many leaks a Report has, the last ones.
const kept = 100

// Report is what has been seen so far.
type Report struct {
	Since    time.Time `json:"since"`
	Devices  []string  `json:"devices"`  // watched now
	Fairlead bool      `json:"fairlead"` // a running fairlead told what it asked; else the policy alone judged
	Counts   Counts    `json:"counts"`
	Lost     int64     `json:"lost"`   // packets that the kernel had no room for
	Unseen   int64     `json:"unseen"` // questions that fairlead asked in the clear, and that did not pass the devices
	Leaks    []Entry   `json:"leaks"`  // the last hundred
}

// Counts are messages by the way that they took.
type Counts struct {
	Direct    int64 `json:"direct"`
	Encrypted int64 `json:"encrypted"`
	Node      int64 `json:"node"`
	Router    int64 `json:"router"`
	Leak      int64 `json:"leak"`
}

// Entry is a leak as it is reported.
type Entry struct {
	Time     time.Time  `json:"time"`
	Name     string     `json:"name"` // empty where none can be read
	Type     string     `json:"type"`
	Proto    string     `json:"proto"`    // udp tcp
	Server   string     `json:"server"`   // whom it was for
	From     string     `json:"from"`     // as the packet had it, translated or not
	Client   netip.Addr `json:"client"`   // the device's address; empty: not known, or the router
	MAC      string     `json:"mac"`      // the device's; empty: not known
	Hostname string     `json:"hostname"` // likewise
	Reason   string     `json:"reason"`
}

func (f Finding) entry() Entry {
	e := Entry{
		Time: f.Time, Name: f.Name, Type: TypeName(f.Type), Proto: "udp", Server: f.Dst.String(), From: f.Src.String(),
		Client: f.Sender.Addr, Hostname: f.Sender.Hostname, Reason: f.Reason,
	}
	if f.Proto == TCP {
		e.Proto = "tcp"
	}
	if f.Sender.MAC != (policy.MAC{}) {
		e.MAC = f.Sender.MAC.String()
	}
	return e
}

// add counts a finding.
func (r *Report) add(f Finding) {
	switch f.Way {
	case Direct:
		r.Counts.Direct++
	case Encrypted:
		r.Counts.Encrypted++
	case Node:
		r.Counts.Node++
	case Router:
		r.Counts.Router++
	case Leak:
		r.Counts.Leak++
		if len(r.Leaks) >= kept {
			r.Leaks = append(r.Leaks[:0], r.Leaks[1:]...)
		}
		r.Leaks = append(r.Leaks, f.entry())
	}
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) {
	for _, e := range r.Leaks {
		fmt.Fprintf(w, "%s  LEAK  %s %s to %s over %s%s\n                     %s\n",
			e.Time.Format(time.DateTime), e.Name, e.Type, e.Server, e.Proto, e.sender(), e.Reason)
	}
	r.PrintSum(w)
}

func (e Entry) sender() string {
	if !e.Client.IsValid() {
		return ""
	}
	return strings.TrimRight(fmt.Sprintf(" from %s %s %s", e.Client, e.MAC, e.Hostname), " ")
}

// PrintSum writes how many messages took which way.
func (r Report) PrintSum(w io.Writer) {
	by := "judged by what fairlead asked whom"
	if !r.Fairlead {
		by = "judged by the policy alone, because no fairlead runs"
	}
	fmt.Fprintf(w, "questions on %s since %s, %s:\n", strings.Join(r.Devices, ", "), r.Since.Format(time.DateTime), by)
	c := r.Counts
	fmt.Fprintf(w, "  %d direct, %d encrypted, %d through an outbound, %d of the router's own programs, %d leaked\n",
		c.Direct, c.Encrypted, c.Node, c.Router, c.Leak)
	if r.Lost > 0 {
		fmt.Fprintf(w, "  %d packets were lost before they could be looked at\n", r.Lost)
	}
	if r.Unseen > 0 {
		fmt.Fprintf(w, "  %d questions of fairlead's own did not pass there: is this the way to the internet?\n", r.Unseen)
	}
	if len(r.Devices) == 0 {
		fmt.Fprintln(w, "  nothing is watched: there is no default route")
	}
}
