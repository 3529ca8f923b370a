package nft

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
	"golang.org/x/sys/unix"
)

// datatype is a type of nft's. The kernel keeps its id for nft's listing only.
type datatype struct {
	name string
	id   uint32
	size uint32 // bytes
	host bool   // in the host's byte order
}

// The ids are those of nft's include/datatype.h.
func protoFamily() datatype   { return datatype{"nf_proto", 2, 1, true} }
func ipv4Addr() datatype      { return datatype{"ipv4_addr", 7, 4, false} }
func ipv6Addr() datatype      { return datatype{"ipv6_addr", 8, 16, false} }
func etherAddr() datatype     { return datatype{"ether_addr", 9, 6, false} }
func inetProto() datatype     { return datatype{"inet_proto", 12, 1, false} }
func inetService() datatype   { return datatype{"inet_service", 13, 2, false} }
func markType() datatype      { return datatype{"mark", 19, 4, true} }
func addrType() datatype      { return datatype{"fib_addrtype", 38, 4, true} }
func interfaceName() datatype { return datatype{"ifname", 41, unix.IFNAMSIZ, true} }

func (f family) datatype() datatype {
	if f.size == 4 {
		return ipv4Addr()
	}
	return ipv6Addr()
}

// set is a named set, or a map.
type set struct {
	name     string
	key      []datatype // several are a concatenation
	verdicts bool       // a map of verdicts
	values   *datatype  // a map of values of this type
	interval bool
	timeout  bool
	dynamic  bool          // rules change it; it has a timeout, too
	lifetime time.Duration // of elements that do not say their own; 0: for ever
	content  content
	device   string // of the interface that its addresses leave through, if any
	elements []element
	addrs    []AddrWay // instead of elements: added later, in several transactions
}

// content says whose the elements of a set are, and so what a reload does with them.
type content uint8

const (
	fromConfig  content = iota // replaced by the new configuration's
	fromTraffic                // kept
	fromFakes                  // kept; those of a set that goes are relayed
	fromAddrs                  // the name tells them: kept if the new configuration has the same
)

func (s set) text() string {
	var b strings.Builder
	kind, to := "set", ""
	switch {
	case s.verdicts:
		kind, to = "map", " : verdict"
	case s.values != nil:
		kind, to = "map", " : "+s.values.name
	}
	fmt.Fprintf(&b, "\t%s %s {\n\t\ttype %s%s\n", kind, s.name, keyText(s.key), to)
	switch {
	case s.interval:
		b.WriteString("\t\tflags interval\n")
	case s.dynamic:
		b.WriteString("\t\tflags dynamic,timeout\n")
	case s.timeout:
		b.WriteString("\t\tflags timeout\n")
	}
	if s.lifetime != 0 {
		fmt.Fprintf(&b, "\t\ttimeout %ds\n", s.lifetime/time.Second)
	}
	if all := slices.Concat(s.elements, addrElements(s.addrs)); len(all) > 0 {
		fmt.Fprintf(&b, "\t\telements = { %s }\n", texts(all))
	}
	b.WriteString("\t}\n")
	return b.String()
}

func keyText(key []datatype) string {
	names := make([]string, len(key))
	for i, k := range key {
		names[i] = k.name
	}
	return strings.Join(names, " . ")
}

// element is a member of a set, or a key of a map and what it stands for.
type element struct {
	key     value
	end     []byte // of an interval: the first key behind it; empty: none follows
	verdict *verdict
	value   *value
	timeout time.Duration // 0: as the set says
}

func (e element) text() string {
	t := e.key.text
	if e.timeout != 0 {
		t += " timeout " + strconv.Itoa(int(e.timeout/time.Second)) + "s"
	}
	switch {
	case e.verdict != nil:
		t += " : " + e.verdict.text()
	case e.value != nil:
		t += " : " + e.value.text
	}
	return t
}

func texts(elements []element) string {
	words := make([]string, len(elements))
	for i, e := range elements {
		words[i] = e.text()
	}
	return strings.Join(words, ", ")
}

func elementsOf(values ...value) []element {
	elements := make([]element, len(values))
	for i, v := range values {
		elements[i].key = v
	}
	return elements
}

// leads is an element of a map of verdicts.
func leads(key value, v verdict) element { return element{key: key, verdict: &v} }

// stands is an element of a map of values.
func stands(key, v value) element { return element{key: key, value: &v} }

// prefixElements are the elements of an interval set that holds the prefixes of
// family f. The kernel refuses overlaps, so they are merged here.
func prefixElements(f family, prefixes []netip.Prefix) []element {
	own := slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return !f.has(p.Addr()) })
	var elements []element
	for _, p := range policy.MergePrefixes(own) {
		elements = append(elements, prefixElement(p))
	}
	return elements
}

func prefixElement(p netip.Prefix) element {
	e := element{key: value{p.String(), p.Addr().AsSlice()}}
	if p.IsSingleIP() {
		e.key.text = p.Addr().String()
	}
	if behind := policy.LastAddr(p).Next(); behind.IsValid() {
		e.end = behind.AsSlice()
	}
	return e
}

func macElements(macs []policy.MAC) []element {
	var elements []element
	for _, m := range macs {
		text := fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
		elements = append(elements, element{key: value{text, bytes.Clone(m[:])}})
	}
	return elements
}

func deviceElements(names []string) []element {
	var elements []element
	for _, n := range names {
		elements = append(elements, element{key: deviceValue(n)})
	}
	return elements
}

func deviceValue(name string) value {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return value{strconv.Quote(name), data}
}
