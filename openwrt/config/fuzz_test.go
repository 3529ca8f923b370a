package config

import (
	"os"
	"testing"
)

func FuzzLoad(f *testing.F) {
	full, err := os.ReadFile("testdata/full.uci")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(full))
	f.Add(node)
	for _, text := range lists() {
		f.Add(text)
	}
	f.Add("config upstream u\n\tlist server https://[2001:db8::1]:443/x\n\toption outbound o\nconfig outbound o\n\toption type socks5\n\toption server a.b\n")
	f.Add("config rule\n\tlist ip 0.0.0.0/0\n\tlist port 1-2\n\tlist domain regexp:a+\n\tlist ruleset names\n\toption outbound reject\nconfig ruleset names\n\toption path /etc/names.txt\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, strict := parse(text, true)
		first, err := parse(text, false)
		second, again := parse(text, false)
		if message(err) != message(again) || first.Warnings.Error() != second.Warnings.Error() {
			t.Errorf("the same file gave\n%v\n%v\nand then\n%v\n%v", err, first.Warnings, again, second.Warnings)
		}
		if strict == nil && err != nil {
			t.Errorf("without being strict there are mistakes that there are none of otherwise:\n%v", err)
		}
	})
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
