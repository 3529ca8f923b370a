package cache

import (
	"bytes"
	"encoding/binary"
)

// entry is an answer in the ring:
//
//	 0  hash    uint32  of the key
//	 4  stored  uint64  millisecond of Put
//	12  fresh   uint32  milliseconds from there
//	16  stale   uint32  milliseconds after those
//	20  msg     uint16  length
//	22  ttls    uint16  number
//	24  key     uint16  length
//	26  asked   uint8   how often Get found it since it came to this place, or was last Ending; 255: or more
//	27  key, ttls (uint16 each), msg
//
// Integers are big-endian, at whatever alignment.
type entry []byte

const (
	entryHead = 27
	askedAt   = 26
)

// answer is what an entry is made of.
type answer struct {
	hash         uint32
	key, msg     []byte
	ttls         []uint16
	stored       int64  // millisecond
	fresh, stale uint32 // milliseconds
}

// size is the length of the entry that the answer makes.
func (a *answer) size() int { return entryHead + len(a.key) + 2*len(a.ttls) + len(a.msg) }

// keepable says whether the answer can be given at any time, is a DNS message,
// whose header is 12 bytes (RFC 1035 section 4.1.1), and has the TTL fields
// that it is said to have.
func (a *answer) keepable() bool {
	if a.fresh+a.stale == 0 || len(a.msg) < 12 || len(a.msg) > 65535 {
		return false
	}
	for _, at := range a.ttls {
		if int(at)+4 > len(a.msg) {
			return false
		}
	}
	return true
}

// write fills an entry of the answer's size.
func (a *answer) write(e entry) {
	binary.BigEndian.PutUint32(e[0:], a.hash)
	binary.BigEndian.PutUint64(e[4:], uint64(a.stored))
	binary.BigEndian.PutUint32(e[12:], a.fresh)
	binary.BigEndian.PutUint32(e[16:], a.stale)
	binary.BigEndian.PutUint16(e[20:], uint16(len(a.msg)))
	binary.BigEndian.PutUint16(e[22:], uint16(len(a.ttls)))
	binary.BigEndian.PutUint16(e[24:], uint16(len(a.key)))
	e[askedAt] = 0
	at := entryHead + copy(e[entryHead:], a.key)
	for _, ttl := range a.ttls {
		binary.BigEndian.PutUint16(e[at:], ttl)
		at += 2
	}
	copy(e[at:], a.msg)
	e[at], e[at+1] = 0, 0 // the message's ID
}

func (e entry) hash() uint32 { return binary.BigEndian.Uint32(e) }

func (e entry) messageAt() int {
	return entryHead + int(binary.BigEndian.Uint16(e[24:])) + 2*int(binary.BigEndian.Uint16(e[22:]))
}

func (e entry) size() int { return e.messageAt() + int(binary.BigEndian.Uint16(e[20:])) }

func (e entry) key() []byte {
	return e[entryHead : entryHead+int(binary.BigEndian.Uint16(e[24:]))]
}

func (e entry) is(hash uint32, key []byte) bool {
	return e.hash() == hash && bytes.Equal(e.key(), key)
}

// state tells what the entry is good for at a time, and its age then in
// milliseconds.
func (e entry) state(now int64) (State, int64) {
	age := max(0, now-int64(binary.BigEndian.Uint64(e[4:])))
	fresh := int64(binary.BigEndian.Uint32(e[12:]))
	stale := int64(binary.BigEndian.Uint32(e[16:]))
	switch {
	case age < fresh:
		return Fresh, age
	case age < fresh+stale:
		return Stale, age
	}
	return Miss, age
}

// ask counts that Get found the entry at its age, and says whether it is
// Ending.
func (e entry) ask(age int64) (ending bool) {
	fresh := int64(binary.BigEndian.Uint32(e[12:]))
	if e[askedAt] >= hot && fresh >= shortLife && age >= fresh-fresh/10 && age < fresh {
		e[askedAt] = 1
		return true
	}
	if e[askedAt] < 255 {
		e[askedAt]++
	}
	return false
}

// appendMessage appends the message as it may be given at its age.
func (e entry) appendMessage(dst []byte, state State, age int64) []byte {
	start, at := len(dst), e.messageAt()
	dst = append(dst, e[at:]...)
	msg, seconds := dst[start:], uint32(age/1000)
	for at -= 2; at >= entryHead+len(e.key()); at -= 2 {
		field := msg[binary.BigEndian.Uint16(e[at:]):]
		ttl := uint32(staleTTL)
		if state != Stale {
			ttl = binary.BigEndian.Uint32(field)
			ttl = max(1, ttl-min(ttl, seconds))
		}
		binary.BigEndian.PutUint32(field, ttl)
	}
	return dst
}
