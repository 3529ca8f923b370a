package firewall

import (
	"encoding/binary"
	"time"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// clockOf is the time zone of /etc/config/system, else that of this process.
func clockOf(system string) *time.Location {
	file, _ := uci.Parse(system)
	for _, s := range sections(file, "system") {
		if o := s.Option("timezone"); o != nil {
			return posixZone(o.Values[0].Text)
		}
	}
	return time.Local
}

// posixZone is a time zone as environ(7) describes TZ: `CET-1CEST,M3.5.0,M10.5.0/3`.
// A router has no files of zones. Package time reads such a rule at the end of
// one (RFC 8536 section 3.3), so it is given a file that says nothing else. A
// rule that it cannot read is UTC.
func posixZone(rule string) *time.Location {
	const counts = 6 // isutcnt, isstdcnt, leapcnt, timecnt, typecnt, charcnt
	header := append([]byte("TZif2"), make([]byte, 15)...)
	file := append(header, make([]byte, counts*4)...) // the part for readers of version 1 is empty
	file = append(file, header...)
	for _, n := range [counts]uint32{0, 0, 0, 0, 1, uint32(len("UTC\x00"))} {
		file = binary.BigEndian.AppendUint32(file, n)
	}
	file = append(file, 0, 0, 0, 0, 0, 0) // one type of local time: no offset, no summer time, its name at 0
	file = append(file, "UTC\x00\n"+rule+"\n"...)
	zone, err := time.LoadLocationFromTZData(rule, file)
	if err != nil {
		return time.UTC
	}
	return zone
}
