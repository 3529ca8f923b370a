package firewall

import (
	"testing"
	"time"
)

// berlin is a time zone with summer time, as OpenWrt writes it.
const berlin = "config system\n\toption zonename 'Europe/Berlin'\n\toption timezone 'CET-1CEST,M3.5.0,M10.5.0/3'\n"

func TestARuleHoldsAtItsTimes(t *testing.T) {
	at := func(text string) time.Time {
		t.Helper()
		when, err := time.Parse("2006-01-02T15:04:05Z", text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	evening := "\toption start_time '21:00:00'\n\toption stop_time '06:00'\n"
	for _, tt := range []struct {
		name, options, system, now string
		want                       bool
	}{
		{"without times", "", "", "2026-11-22T12:00:00Z", true},
		{"within", "\toption start_time '11:00'\n\toption stop_time '13'\n", "", "2026-11-22T12:00:00Z", true},
		{"before", "\toption start_time '12:00:01'\n\toption stop_time '13:00'\n", "", "2026-11-22T12:00:00Z", false},
		{"at the last second", "\toption start_time '11:00'\n\toption stop_time '12:00:00'\n", "", "2026-11-22T12:00:00Z", true},
		{"behind", "\toption start_time '11:00'\n\toption stop_time '11:59:59'\n", "", "2026-11-22T12:00:00Z", false},
		{"over midnight, in the evening", evening, "", "2026-11-22T23:00:00Z", true},
		{"over midnight, in the morning", evening, "", "2026-11-22T05:00:00Z", true},
		{"over midnight, by day", evening, "", "2026-11-22T12:00:00Z", false},
		{"in local time in winter", evening, berlin, "2026-11-22T20:00:00Z", true},
		{"in local time in winter, before", evening, berlin, "2026-11-22T19:59:59Z", false},
		{"in local time in summer", evening, berlin, "2026-07-22T19:00:00Z", true},
		{"in local time in summer, before", evening, berlin, "2026-07-22T18:59:59Z", false},
		{"only begun", "\toption start_time '11:00'\n", "", "2026-11-22T23:59:59Z", true},
		{"only begun, before", "\toption start_time '11:00'\n", "", "2026-11-22T10:59:59Z", false},
		{"only ended", "\toption stop_time '11:00'\n", "", "2026-11-22T00:00:00Z", true},
		{"only ended, behind", "\toption stop_time '11:00'\n", "", "2026-11-22T11:00:01Z", false},
		{"on a day of the week", "\toption weekdays 'Mon su'\n", "", "2026-11-22T12:00:00Z", true},
		{"on another", "\toption weekdays 'Mon Tue Saturday'\n", "", "2026-11-22T12:00:00Z", false},
		{"on any but some", "\toption weekdays '! Mon Tue'\n", "", "2026-11-22T12:00:00Z", true},
		{"on none of those", "\toption weekdays '!Sun'\n", "", "2026-11-22T12:00:00Z", false},
		{"on a day that is only in local time", "\toption weekdays 'Mon'\n", berlin, "2026-11-22T23:30:00Z", true},
		{"from a date on", "\toption start_date '2026-11-22T12:00:00'\n", "", "2026-11-22T12:00:00Z", true},
		{"before a date", "\toption start_date '2026-12'\n", "", "2026-11-22T12:00:00Z", false},
		{"until a date", "\toption stop_date '2026-11-22T12:00:00'\n", "", "2026-11-22T12:00:00Z", true},
		{"behind a date", "\toption stop_date '2026-11-22'\n", "", "2026-11-22T12:00:00Z", false},
		{"until a local date", "\toption stop_date '2026-11-22T12:30:00'\n", berlin, "2026-11-22T12:00:00Z", false},
		{"in UTC, refusing", "\toption utc_time '1'\n\toption start_time '12:00'\n\toption stop_time '12:30'\n", berlin, "2026-11-22T12:00:00Z", true},
		{"in UTC, refusing by local time, too", "\toption utc_time '1'\n\toption start_time '12:00'\n\toption stop_time '12:30'\n", berlin, "2026-11-22T11:00:00Z", true},
		{"in UTC, behind", "\toption utc_time '1'\n\toption start_time '12:00'\n\toption stop_time '12:30'\n", berlin, "2026-11-22T13:00:00Z", false},
		{"every month", "\toption monthdays '1 2 3'\n", "", "2026-11-22T12:00:00Z", true},
		{"with a mistake", "\toption start_time '25:00'\n", "", "2026-11-22T12:00:00Z", false},
		{"with a day that is none", "\toption weekdays 'Someday'\n", "", "2026-11-22T12:00:00Z", false},
	} {
		f := Parse(usual+"config rule\n\toption src 'lan'\n\toption dest 'wan'\n\toption target 'REJECT'\n"+tt.options, tt.system+"config nothing\n")
		got, _ := judged(f, place(), "br-lan", at(tt.now))
		if (got == "refuse") != tt.want {
			t.Errorf("a rule %s at %s: flows are judged by %q, want it to hold: %v", tt.name, tt.now, got, tt.want)
		}
	}
}

func TestInDoubtAnAcceptingRuleHoldsOnlyByBothReadingsOfUTC(t *testing.T) {
	reject := "config rule\n\toption src 'lan'\n\toption dest 'wan'\n\toption target 'REJECT'\n"
	f := Parse(usual+"config rule\n\toption src 'lan'\n\toption dest 'wan'\n\toption utc_time '1'\n\toption start_time '12:00'\n\toption stop_time '13:30'\n\toption dest_port '80'\n\toption target 'ACCEPT'\n"+reject, berlin)
	for now, want := range map[string]string{
		"2026-11-22T11:30:00Z": "refuse",
		"2026-11-22T12:15:00Z": "accept dport {[80] []}; refuse",
		"2026-11-22T13:00:00Z": "refuse",
	} {
		when, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := judged(f, place(), "br-lan", when); got != want {
			t.Errorf("at %s flows are judged by %q, want %q", now, got, want)
		}
	}
}

func TestTimeZonesAreThoseOfTheRouter(t *testing.T) {
	for _, tt := range []struct {
		rule           string
		winter, summer int // hours
	}{
		{"UTC", 0, 0}, {"GMT0", 0, 0}, {"CST-8", 8, 8}, {"<-03>3", -3, -3},
		{"CET-1CEST,M3.5.0,M10.5.0/3", 1, 2}, {"EST5EDT,M3.2.0,M11.1.0", -5, -4}, {"AEST-10AEDT,M10.1.0,M4.1.0/3", 11, 10},
		{"nonsense", 0, 0}, {"", 0, 0},
	} {
		zone := posixZone(tt.rule)
		_, winter := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC).In(zone).Zone()
		_, summer := time.Date(2026, 7, 15, 0, 0, 0, 0, time.UTC).In(zone).Zone()
		if winter != tt.winter*3600 || summer != tt.summer*3600 {
			t.Errorf("%q is %d and %d seconds ahead of UTC in January and July, want %d and %d hours", tt.rule, winter, summer, tt.winter, tt.summer)
		}
	}
}
