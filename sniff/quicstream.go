package sniff

import "slices"

// maxGaps bounds the pieces of a cryptoStream that do not touch. Chrome and
// quic-go cut their hellos into about ten and send them shuffled.
const maxGaps = 128

// cryptoStream puts the data of CRYPTO frames together. Of bytes that come
// more than once the last ones are kept; they may not differ (RFC 9000, 2.2).
type cryptoStream struct {
	data   []byte
	pieces []piece // of data that are there: in order, none touching the next
}

// piece is the half-open range of offsets from start to end.
type piece struct{ start, end int }

// add puts data at offset. It reports whether that stays within maxHello bytes
// and maxGaps pieces.
func (s *cryptoStream) add(offset uint64, data []byte) bool {
	if len(data) == 0 {
		return true
	}
	if offset > maxHello || len(data) > maxHello-int(offset) {
		return false
	}
	add := piece{int(offset), int(offset) + len(data)}
	if n := add.end - len(s.data); n > 0 {
		s.data = append(s.data, make([]byte, n)...)
	}
	copy(s.data[add.start:], data)

	i := 0
	for i < len(s.pieces) && s.pieces[i].end < add.start {
		i++
	}
	j := i
	for j < len(s.pieces) && s.pieces[j].start <= add.end {
		add.start, add.end = min(add.start, s.pieces[j].start), max(add.end, s.pieces[j].end)
		j++
	}
	s.pieces = slices.Replace(s.pieces, i, j, add)
	return len(s.pieces) <= maxGaps
}

// head returns the data from offset 0 to the first gap.
func (s *cryptoStream) head() []byte {
	if len(s.pieces) == 0 || s.pieces[0].start > 0 {
		return nil
	}
	return s.data[:s.pieces[0].end]
}
