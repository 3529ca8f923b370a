package ubus

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// unhex reads bytes that are written with spaces.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden is {"up": true, "l3_device": "pppoe-wan", "metric": 5, "dns-server":
// ["192.0.2.1"], "at": 4294967296, "n": -2, "data": {}} by blob.h and blobmsg.h.
const golden = `
	8700000d 0002 7570 00 000000 01 000000
	8300001a 0009 6c335f646576696365 00 7070706f652d77616e00 0000
	85000014 0006 6d6574726963 00 000000 00000005
	81000028 000a 646e732d736572766572 00 000000 83000012 0000 00 00 3139322e302e322e3100 0000
	84000014 0002 6174 00 000000 0000000100000000
	8600000a 0001 6e 00 fffe 0000
	8200000c 0004 64617461 00 00`

func TestAValueIsReadAsTheFormatSays(t *testing.T) {
	v := Value{kindTable, unhex(t, golden)}
	if got := v.Get("up").Bool(); !got {
		t.Error("up is false, want true")
	}
	if got := v.Get("l3_device").Text(); got != "pppoe-wan" {
		t.Errorf("l3_device = %q, want pppoe-wan", got)
	}
	for name, want := range map[string]int64{"up": 1, "metric": 5, "at": 1 << 32, "n": -2} {
		if got := v.Get(name).Int(); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
	var servers []string
	for name, s := range v.Get("dns-server").All() {
		servers = append(servers, name+s.Text())
	}
	if !slices.Equal(servers, []string{"192.0.2.1"}) {
		t.Errorf("dns-server = %v, want 192.0.2.1 without a name", servers)
	}
	var names []string
	for name := range v.All() {
		names = append(names, name)
	}
	if want := []string{"up", "l3_device", "metric", "dns-server", "at", "n", "data"}; !slices.Equal(names, want) {
		t.Errorf("the table has %v, want %v", names, want)
	}
}

func TestAValueThatIsNotThereIsZero(t *testing.T) {
	v := Value{kindTable, unhex(t, golden)}
	for what, absent := range map[string]Value{
		"a name that is not there": v.Get("nothing"), "an element of a string": v.Get("l3_device").Get("x"),
		"an element of nothing": Value{}.Get("x"), "an empty table": v.Get("data").Get("x"),
	} {
		if absent.Text() != "" || absent.Int() != 0 || absent.Bool() {
			t.Errorf("%s = %+v, want nothing", what, absent)
		}
	}
	if got := v.Get("metric").Text(); got != "" {
		t.Errorf("a number as a string = %q, want none", got)
	}
	if v.Get("metric").Bool() {
		t.Error("a number is true, want only booleans to be")
	}
}

func TestATableIsWrittenAsTheFormatSays(t *testing.T) {
	got := Table{}.Int("object", 0x51ab0001).Text("pattern", "ubus.object.*").b
	want := unhex(t, `
		85000014 0006 6f626a656374 00 000000 51ab0001
		8300001e 0007 7061747465726e 00 0000 756275732e6f626a6563742e2a00 0000`)
	if !bytes.Equal(got, want) {
		t.Errorf("the table is\n%x, want\n%x", got, want)
	}
}

func TestATableCanBeContinuedTwice(t *testing.T) {
	start := Table{}.Text("name", "nikki")
	one, two := start.Int("a", 1), start.Int("b", 2)
	if bytes.Equal(one.b, two.b) || !bytes.HasPrefix(one.b, start.b) {
		t.Errorf("the tables are %x and %x, want them apart", one.b, two.b)
	}
}

// walk looks at all that is in a value, and gives how much it was.
func walk(v Value, depth int) (n int) {
	_, _, _ = v.Text(), v.Int(), v.Bool()
	if depth == 0 {
		return 1
	}
	for _, e := range v.All() {
		n += walk(e, depth-1)
	}
	return n + 1
}

func FuzzValue(f *testing.F) {
	f.Add(unhex(f, golden))
	f.Add([]byte{0x80, 0, 0, 4})
	f.Add([]byte{0x83, 0, 0, 8, 0xff, 0xff, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, k := range []kind{kindArray, kindTable} {
			if got, most := walk(Value{k, b}, 3), 3*len(b)/headLen+1; got > most {
				t.Errorf("%d values in %d octets, want %d at most", got, len(b), most)
			}
		}
	})
}
