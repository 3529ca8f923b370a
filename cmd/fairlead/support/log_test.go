package support

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
)

const systemLog = `Mon Nov 23 10:00:00 2026 daemon.info dnsmasq[99]: query[A] www.clinic.example from 192.168.1.5
Mon Nov 23 10:00:01 2026 daemon.err fairlead[7]: time=2026-11-23T10:00:01.000Z level=INFO msg=serving version=1.0 devices=[br-lan] took=12ms
Mon Nov 23 10:00:02 2026 daemon.err fairlead[7]: time=2026-11-23T10:00:02.000Z level=INFO msg=flow client=192.168.1.5 host=www.clinic.example dst=203.0.113.9:443 outbound=node rule="my clinic" up=10 down=20 err="dialing www.clinic.example:443 through node: dial tcp 203.0.113.80:1080: connect: connection refused"
Mon Nov 23 10:00:03 2026 daemon.err fairlead[7]: time=2026-11-23T10:00:03.000Z level=WARN msg="telling the kernel of a fake address" name=www.clinic.example err="no room for \"www.clinic.example\""
Mon Nov 23 10:00:04 2026 daemon.err fairlead[7]: time=2026-11-23T10:00:04.000Z level=WARN msg="/etc/config/fairlead:12: rule: ip: clinic"
Mon Nov 23 10:00:05 2026 daemon.err fairlead[7]: panic: runtime error: index out of range [3] with length 2
Mon Nov 23 10:00:05 2026 daemon.err fairlead[7]: panic: www.clinic.example
Mon Nov 23 10:00:05 2026 daemon.err fairlead[7]: goroutine 12 [running]:
Mon Nov 23 10:00:05 2026 daemon.err fairlead[7]: github.com/fairlead/fairlead/dnsrouter.(*Router).answer(0xc000123, {0xc000456, 0x1c, 0x200})
Mon Nov 23 10:00:05 2026 daemon.err fairlead[7]: 	github.com/fairlead/fairlead/dnsrouter/router.go:99 +0x1d
Mon Nov 23 10:00:06 2026 daemon.info procd: Instance fairlead::instance1 s in a crash loop 6 crashes, 1 seconds since last crash
Mon Nov 23 10:00:07 2026 user.notice anna: fairlead and clinic
`

func TestOfTheLogOnlyWhatFairleadSaidWithoutNamesIsKept(t *testing.T) {
	want := []string{
		"time=2026-11-23T10:00:01.000Z level=INFO msg=serving version=1.0 devices=[br-lan] took=12ms",
		"time=2026-11-23T10:00:02.000Z level=INFO msg=flow outbound=node up=10 down=20 err=…connection refused",
		"time=2026-11-23T10:00:03.000Z level=WARN msg=telling the kernel of a fake address err=[removed]",
		"panic: runtime error: index out of range [3] with length 2",
		"goroutine 12 [running]:",
		"github.com/fairlead/fairlead/dnsrouter.(*Router).answer(0xc000123, {0xc000456, 0x1c, 0x200})",
		"\tgithub.com/fairlead/fairlead/dnsrouter/router.go:99 +0x1d",
		"procd: Instance fairlead::instance1 s in a crash loop 6 crashes, 1 seconds since last crash",
	}
	if got := Log(systemLog); !slices.Equal(got, want) {
		t.Errorf("Log keeps\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestOnlyTheEndOfALongLogIsKept(t *testing.T) {
	line := "Mon Nov 23 10:00:05 2026 daemon.err fairlead[7]: goroutine 12 [running]:\n"
	if got := len(Log(strings.Repeat(line, 3*maxLog))); got != maxLog {
		t.Errorf("Log keeps %d lines, want %d", got, maxLog)
	}
}

func FuzzNoNameOfASiteIsKept(f *testing.F) {
	f.Add("host", "203.0.113.9", "EOF")
	f.Add("name", "a \"b\" = c\n", "i/o timeout")
	f.Add("time", "x", "")
	f.Fuzz(func(t *testing.T, key, value, cause string) {
		const site = "www.clinic.example"
		if slices.Contains(shownKeys(), strings.Fields(key + " x")[0]) {
			return
		}
		var said strings.Builder
		slog.New(slog.NewTextHandler(&said, nil)).Info("flow", key, site+value, "dst", value+site, "err", "dialing "+site+": "+cause)
		for _, line := range Log("x fairlead[1]: " + said.String() + "x fairlead[1]: " + key + site + value) {
			if strings.Contains(line, site) {
				t.Errorf("%q is kept as %q", said.String(), line)
			}
		}
	})
}
