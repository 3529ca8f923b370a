package wire

// maxSuffixes bounds the names that later ones are compressed against; answers
// seldom hold more.
const maxSuffixes = 48

// packer writes records of one message into another, since offsets change when
// some are left out: names are expanded and compressed anew.
type packer struct {
	buf  []byte
	base int // where the message begins in buf

	suffixes [maxSuffixes]uint16 // offsets of labels, from base
	known    int
}

func (p *packer) msg() []byte { return p.buf[p.base:] }

// name writes the name at off of src. With compress, its longest suffix that
// was written before becomes a pointer.
func (p *packer) name(src []byte, off int, compress bool) {
	known := p.known // a name is not compared with its own unfinished beginning
	for {
		off = label(src, off)
		n := int(src[off])
		if n == 0 {
			p.buf = append(p.buf, 0)
			return
		}
		if compress {
			if at, ok := p.find(src, off, known); ok {
				p.buf = append(p.buf, 0xc0|byte(at>>8), byte(at))
				return
			}
		}
		if at := len(p.msg()); p.known < maxSuffixes && at < 0x4000 {
			p.suffixes[p.known] = uint16(at)
			p.known++
		}
		p.buf = append(p.buf, src[off:off+n+1]...)
		off += n + 1
	}
}

func (p *packer) find(src []byte, off, known int) (uint16, bool) {
	for _, at := range p.suffixes[:known] {
		if sameName(src, off, p.msg(), int(at)) {
			return at, true
		}
	}
	return 0, false
}

// question writes header and question of src, the name in lower case, with empty
// sections.
func (p *packer) question(src []byte, end int) {
	p.buf = append(p.buf, src[:HeaderLen]...)
	m := p.msg()
	clear(m[atAN:HeaderLen])
	p.name(src, HeaderLen, false)
	m = p.msg()
	for i := HeaderLen; i < len(m); i++ {
		m[i] = lower(m[i])
	}
	p.buf = append(p.buf, src[end-4:end]...)
}

// head writes a record up to its data and returns the TTL's offset.
func (p *packer) head(src []byte, rr Record, ttl uint32) int {
	m := p.msg()
	put16(m, rr.Section.count(), get16(m, rr.Section.count())+1)
	p.name(src, rr.Name, true)
	at := len(p.msg()) + 4
	p.buf = append(p.buf, byte(rr.Type>>8), byte(rr.Type), byte(rr.Class>>8), byte(rr.Class),
		byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl), 0, 0)
	return at
}

// tail writes the length of the data that began right behind the TTL at at.
func (p *packer) tail(at int) {
	m := p.msg()
	put16(m, at+4, uint16(len(m)-at-6))
}

// data writes the data of a record; validData accepted it.
func (p *packer) data(src []byte, rr Record) {
	l, known := layoutOf(rr.Type)
	if !known {
		p.buf = append(p.buf, src[rr.Data:rr.End]...)
		return
	}
	off := l.namesAt(src, rr.Data)
	p.buf = append(p.buf, src[rr.Data:off]...)
	for range l.names {
		p.name(src, off, l.compress)
		off = nameEnd(src, off)
	}
	p.buf = append(p.buf, src[off:rr.End]...)
}
