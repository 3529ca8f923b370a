package wire

import "net/netip"

// Keys of service parameters (RFC 9460 section 14.3.2; ech: RFC 9848).
const (
	keyMandatory uint16 = 0
	keyIPv4Hint  uint16 = 4
	keyECH       uint16 = 5
	keyIPv6Hint  uint16 = 6
)

// service returns the data of an HTTPS or SVCB record (RFC 9460 section 2.2)
// without the parameters that the filter takes; data itself if it asks for
// nothing. A record that is malformed, or useless without what was taken
// ("mandatory"), is not ok.
func (f Filter) service(data []byte) (kept []byte, ok bool) {
	if f.Drop == nil && !f.StripECH && !f.StripHints && !f.StripOther {
		return data, true
	}
	params := -1
	if len(data) > 2 {
		params = nameEnd(data, 2)
	}
	const own = 3 // where parameters begin if the target is the root, which stands for the name itself
	if params < 0 || f.StripOther && params != own {
		return nil, false
	}
	kept = append(make([]byte, 0, len(data)), data[:params]...)
	for off := params; off < len(data); {
		key, value, end := serviceParam(data, off)
		if end < 0 {
			return nil, false
		}
		if !f.takes(key, value) {
			kept = append(kept, data[off:end]...)
		} else if mandatory(data[params:], key) {
			return nil, false
		}
		off = end
	}
	return kept, true
}

// serviceParam reads the parameter at off; end is -1 if it is malformed.
func serviceParam(data []byte, off int) (key uint16, value []byte, end int) {
	if off+4 > len(data) {
		return 0, nil, -1
	}
	key, end = get16(data, off), off+4+int(get16(data, off+2))
	if end > len(data) {
		return 0, nil, -1
	}
	return key, data[off+4 : end], end
}

func (f Filter) takes(key uint16, value []byte) bool {
	switch key {
	case keyECH:
		return f.StripECH
	case keyIPv4Hint:
		return f.StripHints || f.dropsOne(value, 4)
	case keyIPv6Hint:
		return f.StripHints || f.dropsOne(value, 16)
	}
	return false
}

// dropsOne tells whether one of the addresses of a hint is to be dropped.
func (f Filter) dropsOne(value []byte, size int) bool {
	if f.Drop == nil {
		return false
	}
	for ; len(value) >= size; value = value[size:] {
		addr, _ := netip.AddrFromSlice(value[:size])
		if f.Drop(addr.Unmap()) {
			return true
		}
	}
	return false
}

// mandatory tells whether the parameters list key among those that a client must
// understand. Keys are in ascending order, so that list comes first.
func mandatory(params []byte, key uint16) bool {
	first, list, end := serviceParam(params, 0)
	if end < 0 || first != keyMandatory {
		return false
	}
	for ; len(list) >= 2; list = list[2:] {
		if get16(list, 0) == key {
			return true
		}
	}
	return false
}
