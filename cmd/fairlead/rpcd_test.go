package main

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestRpcdIsToldEveryMethodWithItsArguments(t *testing.T) {
	out, errs, code := typed(t, "rpcd", "list")
	want := map[string]map[string]string{
		"status": {}, "clients": {}, "doctor": {}, "leaks": {}, "reload": {}, "explain": {"client": "", "name": ""},
	}
	var got map[string]map[string]string
	if err := jsonInto(out, &got); err != nil || code != 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("rpcd list exits %d and prints %q (%v, %s), want %v", code, out, err, errs, want)
	}
}

func TestACallAnswersLikeTheCommand(t *testing.T) {
	path := configFile(t, household)
	for _, tt := range []struct {
		method, in string
		command    []string
	}{
		{"explain", `{"client":"tv","name":"www.foreign.example"}`, []string{"--client", "tv", "www.foreign.example"}},
		{"explain", `{"ubus_rpc_session":"00","client":"192.168.77.99","name":"192.0.2.1:443/udp"}`, []string{"--client", "192.168.77.99", "192.0.2.1:443/udp"}},
		{"clients", `{}`, nil},
		{"clients", ``, nil},
		{"doctor", `{}`, nil},
	} {
		want, errs, _ := typed(t, append([]string{tt.method, "-c", path, "--json"}, tt.command...)...)
		if want == "" {
			t.Fatalf("%s prints nothing: %s", tt.method, errs)
		}
		got, errs, code := piped(t, tt.in, "rpcd", "-c", path, "call", tt.method)
		if got != want || errs != "" || code != 0 {
			t.Errorf("call %s with %s exits %d and prints %q, %q; want %q", tt.method, tt.in, code, got, errs, want)
		}
	}
}

func TestABadCallIsAnsweredByAnError(t *testing.T) {
	path := configFile(t, household)
	for _, tt := range []struct{ name, method, in, want string }{
		{"an unknown method", "explode", `{}`, "there is no method"},
		{"what is no JSON", "explain", `client=tv`, "one JSON object"},
		{"what is no object", "explain", `["tv"]`, "one JSON object"},
		{"an argument of another type", "explain", `{"client":7}`, "one JSON object"},
		{"more than is read", "explain", `{"client":"` + strings.Repeat("x", maxArguments) + `"}`, "one JSON object"},
		{"an argument that is missing", "explain", `{"name":"www.example"}`, "which client?"},
		{"a client that is none", "explain", `{"client":"nobody","name":"www.example"}`, "no client section"},
		{"no daemon", "status", `{}`, "no fairlead is running"},
		{"nothing to reload", "reload", `{}`, "no fairlead is running"},
	} {
		out, errs, code := piped(t, tt.in, "rpcd", "-c", path, "call", tt.method)
		var got map[string]string
		if err := json.Unmarshal([]byte(out), &got); err != nil || len(got) != 1 || !strings.Contains(got["error"], tt.want) || code != 1 || errs != "" {
			t.Errorf("%s: call %s exits %d and prints %q, %q; want an error that has %q", tt.name, tt.method, code, out, errs, tt.want)
		}
	}
}

// acl is a file of /usr/share/rpcd/acl.d.
type acl map[string]struct {
	Read, Write struct {
		Ubus map[string][]string
		UCI  []string
	}
}

func TestTheAccessListKeepsReadingAndChangingApart(t *testing.T) {
	text, err := os.ReadFile("../../package/openwrt/files/usr/share/rpcd/acl.d/fairlead.json")
	ok(t, err)
	var list acl
	ok(t, json.Unmarshal(text, &list))
	changing := []string{"reload"}
	var reading []string
	for _, m := range methods() {
		if !slices.Contains(changing, m.name) {
			reading = append(reading, m.name)
		}
	}
	a := list["fairlead"]
	if got := a.Read.Ubus["fairlead"]; !slices.Equal(got, reading) {
		t.Errorf("reading may call %v, want %v", got, reading)
	}
	if got := a.Write.Ubus["fairlead"]; !slices.Equal(got, changing) {
		t.Errorf("changing may call %v, want %v", got, changing)
	}
	if !slices.Equal(a.Read.UCI, []string{"fairlead"}) || !slices.Equal(a.Write.UCI, []string{"fairlead"}) {
		t.Errorf("the configurations are %v to read and %v to change, want fairlead alone", a.Read.UCI, a.Write.UCI)
	}
}

func FuzzACallIsAnsweredByOneObject(f *testing.F) {
	f.Add(`{"client":"tv","name":"www.example:443/udp"}`)
	f.Add(`{"client":"02:00:00:00:77:02","name":"[2001:db8::1]:53"}`)
	f.Add(`{"client":null,"name":"\u0000"} {}`)
	f.Fuzz(func(t *testing.T, in string) {
		args, err := readArguments(strings.NewReader(in))
		if err != nil {
			return
		}
		s, err := parseSubject(args.Name)
		if err == nil && (s.name == "") == !s.addr.IsValid() {
			t.Errorf("%q is read as %+v, want either a name or an address", args.Name, s)
		}
	})
}
