package wire

// Section is one of the three parts of a message that hold records.
type Section uint8

// The sections, in the order of the message.
const (
	Answer Section = iota + 1
	Authority
	Additional
)

// count is the offset of the header field that counts the section's records.
func (s Section) count() int { return atQD + 2*int(s) }

// Record is where one resource record lies in its message. Offsets count octets
// from the message's beginning.
type Record struct {
	Section   Section
	Name      int // offset of the owner's name
	Type      uint16
	Class     uint16
	TTL       uint32 // seconds
	TTLAt     int    // offset of the TTL
	Data, End int    // offsets of the data and of what follows it
}

// readRecord reads the record at off, without looking into its data.
func readRecord(msg []byte, off int) (Record, bool) {
	end := nameEnd(msg, off)
	if end < 0 || end+10 > len(msg) {
		return Record{}, false
	}
	rr := Record{
		Name:  off,
		Type:  get16(msg, end),
		Class: get16(msg, end+2),
		TTL:   get32(msg, end+4),
		TTLAt: end + 4,
		Data:  end + 10,
		End:   end + 10 + int(get16(msg, end+8)),
	}
	return rr, rr.End <= len(msg)
}

// layout is how the data of a type holds names that may be compressed: some
// octets, some character strings, the names, and then a tail.
type layout struct {
	octets, strings, names int
	tail                   int // octets; -1: any number
	compress               bool
}

// layoutOf knows the types whose names a sender may have compressed: those of
// RFC 1035, which we may compress too, and those that RFC 3597 section 4 wants
// read but never written so.
func layoutOf(typ uint16) (layout, bool) {
	switch typ {
	case TypeNS, TypeMD, TypeMF, TypeCNAME, TypeMB, TypeMG, TypeMR, TypePTR:
		return layout{names: 1, compress: true}, true
	case TypeSOA:
		return layout{names: 2, tail: 20, compress: true}, true
	case TypeMINFO:
		return layout{names: 2, compress: true}, true
	case TypeMX:
		return layout{octets: 2, names: 1, compress: true}, true
	case TypeDNAME:
		return layout{names: 1}, true
	case TypeRP:
		return layout{names: 2}, true
	case TypeAFSDB, TypeRT, TypeKX:
		return layout{octets: 2, names: 1}, true
	case TypePX:
		return layout{octets: 2, names: 2}, true
	case TypeSRV:
		return layout{octets: 6, names: 1}, true
	case TypeNAPTR:
		return layout{octets: 4, strings: 3, names: 1}, true
	case TypeSIG, TypeRRSIG:
		return layout{octets: 18, names: 1, tail: -1}, true
	case TypeNXT:
		return layout{names: 1, tail: -1}, true
	}
	return layout{}, false
}

// validData checks the data of the types that we look into.
func validData(msg []byte, rr Record) bool {
	size := rr.End - rr.Data
	switch {
	case rr.Type == TypeA && rr.Class == ClassIN:
		return size == 4
	case rr.Type == TypeAAAA && rr.Class == ClassIN:
		return size == 16
	}
	l, known := layoutOf(rr.Type)
	if !known {
		return true
	}
	off := l.namesAt(msg[:rr.End], rr.Data)
	for range l.names {
		if off < 0 || off > rr.End {
			return false
		}
		off = nameEnd(msg[:rr.End], off)
	}
	return off >= 0 && (l.tail < 0 && off <= rr.End || off+l.tail == rr.End)
}

// namesAt returns where the names of data at off begin, or -1.
func (l layout) namesAt(msg []byte, off int) int {
	off += l.octets
	for range l.strings {
		if off >= len(msg) {
			return -1
		}
		off += 1 + int(msg[off])
	}
	return off
}
