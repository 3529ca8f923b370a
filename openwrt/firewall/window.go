package firewall

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

const day = 24 * 60 * 60 // seconds

// window is when a rule holds.
type window struct {
	utc         bool  // the rule says that its times are UTC
	start, stop *int  // seconds of the day, both within the window; nil: not said
	since, till *date // nil: not said
	days        []time.Weekday
	notDays     bool // it holds on all days but these
}

// date is a moment as a rule writes it, in whatever time zone.
type date struct{ year, month, day, second int }

func (d date) in(zone *time.Location) time.Time {
	return time.Date(d.year, time.Month(d.month), d.day, 0, 0, d.second, 0, zone)
}

// holds tells whether now is within the window. Fw4 reads every time as local,
// also one that is said to be UTC; where that makes a difference a rule that
// refuses holds by either reading, and one that accepts by both.
func (w window) holds(now time.Time, zone *time.Location, refuses bool) bool {
	local := w.within(now.In(zone))
	if !w.utc {
		return local
	}
	utc := w.within(now.UTC())
	return local && utc || refuses && (local || utc)
}

func (w window) within(now time.Time) bool {
	switch {
	case w.since != nil && now.Before(w.since.in(now.Location())):
		return false
	case w.till != nil && now.Truncate(time.Second).After(w.till.in(now.Location())):
		return false
	case len(w.days) > 0 && slices.Contains(w.days, now.Weekday()) == w.notDays:
		return false
	}
	return w.hours(now)
}

// hours compares the time of the day as the kernel does, in UTC: so one that
// only begins lasts until midnight there. One that ends before it begins lasts
// over midnight.
func (w window) hours(now time.Time) bool {
	_, offset := now.Zone()
	second := int(now.Unix() % day)
	start, stop := 0, day-1
	if w.start != nil {
		start = (*w.start - offset + 2*day) % day
	}
	if w.stop != nil {
		stop = (*w.stop - offset + 2*day) % day
	}
	if start <= stop {
		return start <= second && second <= stop
	}
	return start <= second || second <= stop
}

func (r *reader) window() window {
	w := window{utc: r.flag("utc_time", false)}
	w.start, w.stop = r.time("start_time"), r.time("stop_time")
	w.since, w.till = r.date("start_date"), r.date("stop_date")
	w.days, w.notDays = r.weekdays("weekdays")
	return w
}

// time reads hours, and minutes and seconds behind colons.
func (r *reader) time(name string) *int {
	text := r.text(name)
	if text == "" {
		return nil
	}
	second, ok := seconds(text)
	r.bad = r.bad || !ok
	return &second
}

func seconds(text string) (second int, ok bool) {
	parts := strings.Split(text, ":")
	if len(parts) > 3 {
		return 0, false
	}
	for i, most := range []int{23, 59, 59} {
		n := 0
		if i < len(parts) {
			if n, ok = number(parts[i], 2); !ok || n > most {
				return 0, false
			}
		}
		second = second*60 + n
	}
	return second, true
}

// date reads a year, and what may follow it: `2026-12-24T18:00`.
func (r *reader) date(name string) *date {
	text := r.text(name)
	if text == "" {
		return nil
	}
	d, ok := dateOf(text)
	r.bad = r.bad || !ok
	return &d
}

func dateOf(text string) (d date, ok bool) {
	text, clock, timed := strings.Cut(text, "T")
	parts := strings.Split(text, "-")
	if len(parts) > 3 || timed && len(parts) < 3 {
		return d, false
	}
	fields := []int{0, 1, 1}
	for i, p := range parts {
		digits := 2
		if i == 0 {
			digits = 4
		}
		if fields[i], ok = number(p, digits); !ok {
			return d, false
		}
	}
	if timed {
		if d.second, ok = seconds(clock); !ok {
			return d, false
		}
	}
	d.year, d.month, d.day = fields[0], max(fields[1], 1), max(fields[2], 1)
	return d, d.year >= 1970 && d.year <= 2038 && d.month <= 12 && d.day <= 31
}

func number(text string, digits int) (n int, ok bool) {
	u, err := strconv.ParseUint(text, 10, 16)
	return int(u), err == nil && len(text) <= digits
}

// weekdays reads names of days, of which the beginning is enough.
func (r *reader) weekdays(name string) (days []time.Weekday, not bool) {
	text, not := negated(r.text(name))
	for _, word := range strings.Fields(text) {
		d, ok := weekday(word)
		r.bad = r.bad || !ok
		days = append(days, d)
	}
	return days, not
}

// weekday takes the first day of the week, which begins on Monday, that begins so.
func weekday(word string) (time.Weekday, bool) {
	for i := range 7 {
		d := time.Weekday((i + 1) % 7)
		if abbreviates(word, strings.ToLower(d.String())) {
			return d, true
		}
	}
	return 0, false
}
