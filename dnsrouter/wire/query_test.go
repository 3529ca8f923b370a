package wire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/miekg/dns"
)

// packed is a query as another library writes it.
func packed(t testing.TB, name string, typ uint16, change func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), typ)
	m.Id = 0x1234
	if change != nil {
		change(m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAQueryIsReadAsItWasWritten(t *testing.T) {
	msg := packed(t, "Www.Example.COM", dns.TypeAAAA, func(m *dns.Msg) {
		m.CheckingDisabled = true
		m.AuthenticatedData = true
		m.SetEdns0(4096, true)
	})
	var q wire.Query
	if err := q.Parse(msg); err != nil {
		t.Fatal(err)
	}
	if got, want := string(q.Name()), "www.example.com"; got != want {
		t.Errorf("Name() = %q, want %q", got, want)
	}
	if q.ID != 0x1234 || !q.RD || !q.AD || !q.CD || !q.EDNS || !q.DO || q.UDPSize != 4096 ||
		q.Type != dns.TypeAAAA || q.Class != dns.ClassINET || q.Labels() != 3 || q.Version != 0 {
		t.Errorf("got %+v", q)
	}
	if got, want := q.Limit(), 1232; got != want {
		t.Errorf("Limit() = %d, want %d", got, want)
	}
	if got, want := q.QuestionEnd, 12+17+4; got != want {
		t.Errorf("QuestionEnd = %d, want %d", got, want)
	}
}

func TestEveryWrongQueryIsAnsweredAsTheRFCsSay(t *testing.T) {
	good := packed(t, "example.com", dns.TypeA, nil)
	opt := []byte{0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0}
	with := func(change func(b []byte)) []byte {
		b := append([]byte(nil), good...)
		change(b)
		return b
	}
	withOPT := func(change func(b []byte)) []byte {
		b := append(append([]byte(nil), good...), opt...)
		b[11] = 1
		change(b[len(good):])
		return b
	}
	twoOPT := append(withOPT(func([]byte) {}), opt...)
	twoOPT[11] = 2
	long := append(append([]byte(nil), good[:12]...), strings.Repeat("\x01a", 128)+"\x00\x00\x01\x00\x01"...)

	tests := []struct {
		name string
		msg  []byte
		want error
	}{
		{"an empty datagram is ignored", nil, wire.ErrIgnore},
		{"less than a header is ignored", good[:11], wire.ErrIgnore},
		{"a response is ignored", with(func(b []byte) { b[2] |= 0x80 }), wire.ErrIgnore},
		{"a notify is not implemented", with(func(b []byte) { b[2] |= 4 << 3 }), wire.ErrOpcode},
		{"an update without question is not implemented", with(func(b []byte) { b[2] |= 5 << 3; b[5] = 0 }), wire.ErrOpcode},
		{"no question is malformed", with(func(b []byte) { b[5] = 0 }), wire.ErrFormat},
		{"a header alone is malformed", good[:12], wire.ErrFormat},
		{"two questions are malformed", with(func(b []byte) { b[5] = 2 }), wire.ErrFormat},
		{"a pointer to itself is malformed", append(append([]byte(nil), good[:12]...), 0xc0, 12, 0, 1, 0, 1), wire.ErrFormat},
		{"a pointer into the header is malformed", append(append([]byte(nil), good[:12]...), 0xc0, 4, 0, 1, 0, 1), wire.ErrFormat},
		{"a name over 255 octets is malformed", long, wire.ErrFormat},
		{"a label of an extended type is malformed", with(func(b []byte) { b[12] = 0x41 }), wire.ErrFormat},
		{"a question cut off is malformed", good[:len(good)-1], wire.ErrFormat},
		{"trailing octets are malformed", append(append([]byte(nil), good...), 0), wire.ErrFormat},
		{"a counted record that is missing is malformed", with(func(b []byte) { b[7] = 1 }), wire.ErrFormat},
		{"two OPT records are malformed", twoOPT, wire.ErrFormat},
		{"an OPT record with a name is malformed", append(with(func(b []byte) { b[11] = 1 }), append([]byte{1, 'a'}, opt...)...), wire.ErrFormat},
		{"an OPT record in the answer is malformed", append(with(func(b []byte) { b[7] = 1 }), opt...), wire.ErrFormat},
		{"an OPT record over the end is malformed", withOPT(func(b []byte) { b[10] = 1 }), wire.ErrFormat},
		{"an option over the record's end is malformed", append(withOPT(func(b []byte) { b[10] = 4 }), 0, 10, 0, 1), wire.ErrFormat},
		{"EDNS version 1 is a bad version", withOPT(func(b []byte) { b[6] = 1 }), wire.ErrVersion},
		{"so it is with what are no options of version 0", append(withOPT(func(b []byte) { b[6], b[10] = 1, 4 }), 0, 10, 0, 1), wire.ErrVersion},
		{"an option of the client's is well", append(withOPT(func(b []byte) { b[10] = 5 }), 0, 10, 0, 1, 7), nil},
		{"a plain question is well", good, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var q wire.Query
			if err := q.Parse(tt.msg); !errors.Is(err, tt.want) {
				t.Errorf("Parse = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestNamesSurviveTextAndBack(t *testing.T) {
	tests := []struct{ name, wire, text string }{
		{"the root is empty", "\x00", ""},
		{"letters become lower case", "\x02Ab\x01C\x00", "ab.c"},
		{"a dot within a label is a number", "\x03a.b\x00", `a\046b`},
		{"a backslash is escaped", "\x01\\\x00", `\\`},
		{"control characters are numbers", "\x02\x00\xff\x00", `\000\255`},
		{"a space is a number", "\x03a b\x00", `a\032b`},
		{"underscores stay", "\x04_dns\x00", "_dns"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msg := append(make([]byte, 12), tt.wire+"\x00\x01\x00\x01"...)
			msg[5] = 1
			var q wire.Query
			if err := q.Parse(msg); err != nil {
				t.Fatal(err)
			}
			if got := string(q.Name()); got != tt.text {
				t.Errorf("Name() = %q, want %q", got, tt.text)
			}
			back, err := wire.AppendName(nil, q.Name())
			if got, want := string(back), strings.NewReplacer("A", "a", "C", "c").Replace(tt.wire); err != nil || got != want {
				t.Errorf("AppendName(%q) = %q, %v, want %q", tt.text, got, err, want)
			}
		})
	}
}

func TestNamesThatAreNoneAreRefused(t *testing.T) {
	for _, name := range []string{
		".a", "a..b", "a..", "..", `a\`, `a\25`, `a\256`, `a\2x5`,
		strings.Repeat("a", 64), strings.Repeat("abcdefg.", 32),
	} {
		if got, err := wire.AppendName(nil, name); !errors.Is(err, wire.ErrName) {
			t.Errorf("AppendName(%q) = %q, %v, want %v", name, got, err, wire.ErrName)
		}
	}
}

func TestTheLongestNameFits(t *testing.T) {
	label := "\x3f" + strings.Repeat("\x01", 63)
	name := label + label + label + "\x3d" + strings.Repeat("\x01", 61) + "\x00"
	msg := append(make([]byte, 12), name+"\x00\x01\x00\x01"...)
	msg[5] = 1
	var q wire.Query
	if err := q.Parse(msg); err != nil {
		t.Fatal(err)
	}
	if got, want := len(q.Name()), wire.MaxText; got != want {
		t.Errorf("text has %d octets, want %d", got, want)
	}
	back, err := wire.AppendName(nil, q.Name())
	if err != nil || string(back) != name {
		t.Errorf("AppendName gives %d octets, %v, want the %d it came from", len(back), err, len(name))
	}
}
