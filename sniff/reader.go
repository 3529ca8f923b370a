package sniff

// reader takes big-endian fields off the front of b. Once b is too short it
// is bad and yields zeros, so that a parser checks once, at its end.
type reader struct {
	b   []byte
	bad bool
}

// bytes takes the next n bytes.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

// uint takes an unsigned integer of n bytes, at most 8.
func (r *reader) uint(n uint64) uint64 {
	var v uint64
	for _, c := range r.bytes(n) {
		v = v<<8 | uint64(c)
	}
	return v
}

// vector takes bytes that are preceded by their number, written in n bytes.
func (r *reader) vector(n uint64) []byte {
	return r.bytes(r.uint(n))
}

// varint takes a variable-length integer, RFC 9000 section 16.
func (r *reader) varint() uint64 {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	n := uint64(1) << (r.b[0] >> 6)
	return r.uint(n) &^ (3 << (8*n - 2))
}

// end reports whether everything was there and nothing is left.
func (r *reader) end() bool {
	return !r.bad && len(r.b) == 0
}
