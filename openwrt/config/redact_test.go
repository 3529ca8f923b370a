package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// marked is a file in which every option there is, and some that there are not,
// has a value that occurs nowhere else.
func marked() (text string, markers []string) {
	var b strings.Builder
	put := func(command, name, form string) {
		marker := fmt.Sprintf("mk%04dz", len(markers))
		markers = append(markers, marker)
		fmt.Fprintf(&b, "\t%s %s '%s'\n", command, name, fmt.Sprintf(form, marker))
	}
	for _, typ := range schema() {
		fmt.Fprintf(&b, "config %s '%s_one'\n", typ.name, typ.name)
		for _, o := range typ.options {
			if o.name == "enabled" {
				continue // or its mistake would be the only one
			}
			if !o.list {
				put("option", o.name, "%s")
				continue
			}
			for _, form := range []string{"%s", "tls://%s.example:853", "https://u:%s@h.example/path?token=t", "regexp:(%s"} {
				put("list", o.name, form)
			}
		}
		put("option", "unheard_of", "%s")
	}
	b.WriteString("config nonsense 'nobody'\n")
	put("list", "x", "it's %s")
	return strings.ReplaceAll(b.String(), "it's", `it'\''s`), markers
}

// visible are options of which any value of the right form may be seen.
func visible() []string { return []string{"network", "device"} }

func TestNoValueOfAnyOptionIsSeenUnlessItsKindIsListed(t *testing.T) {
	text, markers := marked()
	file, mistakes := uci.Parse(text)
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	r := redact(file)
	_, err := parse(text, true)
	wrong, _ := err.(Mistakes)
	if len(wrong) < 20 {
		t.Fatalf("there are %d mistakes, want many that quote values: %v", len(wrong), err)
	}
	var said strings.Builder
	for _, m := range wrong {
		said.WriteString(r.Line(m) + "\n")
	}
	control := 0
	for _, marker := range markers {
		at := strings.Index(text, marker)
		line := text[strings.LastIndexByte(text[:at], '\n')+1 : at]
		if strings.Contains(err.Error(), marker) {
			control++
		}
		if slices.Contains(visible(), strings.Fields(line)[1]) {
			continue
		}
		if strings.Contains(r.Text, marker) {
			t.Errorf("what may be shown has the value of %q, want it removed", line)
		}
		if strings.Contains(said.String(), marker) {
			t.Errorf("the mistakes quote the value of %q, want it removed:\n%s", line, said.String())
		}
		if !slices.ContainsFunc(r.Hidden, func(v string) bool { return strings.Contains(v, marker) }) {
			t.Errorf("the value of %q is not among the hidden ones", line)
		}
	}
	if control < 10 {
		t.Errorf("%d markers are in the mistakes themselves, want some, or nothing is shown by their absence", control)
	}
}

func TestWhatHelpsIsSeen(t *testing.T) {
	file, _ := uci.Parse(`config fairlead 'main'
	list network 'lan'
	option default 'node'
	option log_level 'debug'
	option cache_dir '/mnt/anna'
config outbound 'node'
	option type 'socks5'
	option server '203.0.113.80'
	option port '1080'
	option password 'hunter2'
config upstream 'remote'
	list server 'tls://[2001:db8::1]'
	list server 'auto'
	list server 'https://token.dns.example/x'
config rule
	list domain 'clinic.example'
	list client 'annas_phone'
	list port '443'
	option outbound 'nod'
`)
	want := `
config 'fairlead' 'main'
	list network 'lan'
	option default 'node'
	option log_level 'debug'
	option cache_dir '[removed]'

config 'outbound' 'node'
	option type 'socks5'
	option server '[IPv4 address]'
	option port '1080'
	option password '[removed]'

config 'upstream' 'remote'
	list server 'tls://[IPv6 address]'
	list server 'auto'
	list server 'https://[removed]'

config 'rule'
	list domain '[removed]'
	list client '[removed]'
	list port '443'
	option outbound '[removed]'
`
	if got := redact(file).Text; got != want {
		t.Errorf("the file is shown as\n%s\nwant\n%s", got, want)
	}
}

func TestAMistakeKeepsTheWordsOfTheLanguage(t *testing.T) {
	text := "config outbound 'node'\n\toption type 'sock5'\nconfig rule\n\tlist domain 'x.example'\n\toption outbound 'nod'\n"
	file, _ := uci.Parse(text)
	r := redact(file)
	_, err := parse(text, true)
	var got []string
	for _, m := range err.(Mistakes) {
		got = append(got, r.Line(m))
	}
	want := []string{
		`f:2: node: type: [removed] is none of interface and socks5; did you mean "socks5"?`,
		`f:5: @rule[0]: outbound: no outbound [removed] is declared; did you mean "node"?`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("the mistakes are shown as %q, want %q", got, want)
	}
}

func TestAWordTooMuchIsNotQuoted(t *testing.T) {
	text := "config outbound 'node'\n\toption password my secret\n\tsecret\n"
	file, unread := uci.Parse(text)
	r := redact(file)
	for _, m := range unread {
		said := r.Line(Mistake{File: "f", Line: m.Line, Section: m.Section, What: m.What})
		if strings.Contains(said, "secret") || !strings.HasPrefix(said, "f:") {
			t.Errorf("the mistake is shown as %q, want it without what was typed", said)
		}
	}
	if len(unread) != 2 {
		t.Errorf("there are %d mistakes, want 2", len(unread))
	}
}

func FuzzRedact(f *testing.F) {
	text, _ := marked()
	f.Add(text)
	f.Add(aged)
	f.Fuzz(func(t *testing.T, text string) {
		file, _ := uci.Parse(text)
		r := redact(file)
		shown, mistakes := uci.Parse(r.Text)
		if len(mistakes) > 0 {
			t.Fatalf("what is shown has the mistakes %v:\n%s", mistakes, r.Text)
		}
		for _, s := range shown.Sections {
			if o := s.Option("password"); o != nil && o.Values[0].Text != removed && !strings.HasSuffix(o.Values[0].Text, "address]") && !strings.HasSuffix(o.Values[0].Text, removed) {
				t.Errorf("a password is shown as %q", o.Values[0].Text)
			}
		}
	})
}
