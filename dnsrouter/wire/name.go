package wire

// maxPointers bounds the compression pointers of one name: more than one for
// each label has no use, and a chain of thousands costs us time.
const maxPointers = 127

// nameEnd checks the name at off and returns the offset behind it, or -1.
// Pointers must lead to before the labels they continue (RFC 1035 section
// 4.1.4, "prior occurrence"), so no name can loop.
func nameEnd(msg []byte, off int) int {
	end, size, start, pointers := -1, 1, off, 0
	for off < len(msg) {
		c := int(msg[off])
		switch {
		case c == 0:
			if end < 0 {
				end = off + 1
			}
			return end
		case c < 64:
			size += c + 1
			if size > MaxName {
				return -1
			}
			off += c + 1
		case c >= 0xc0 && off+1 < len(msg):
			to := int(get16(msg, off) & 0x3fff)
			pointers++
			if to < HeaderLen || to >= start || pointers > maxPointers {
				return -1
			}
			if end < 0 {
				end = off + 2
			}
			off, start = to, to
		default:
			return -1
		}
	}
	return -1
}

// The functions below walk names that nameEnd accepted.

// label returns the offset of the label that off stands for, following pointers.
func label(msg []byte, off int) int {
	for msg[off] >= 0xc0 {
		off = int(get16(msg, off) & 0x3fff)
	}
	return off
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func sameFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// sameName compares without regard to case (RFC 4343).
func sameName(a []byte, i int, b []byte, j int) bool {
	for {
		i, j = label(a, i), label(b, j)
		n := int(a[i])
		if !sameFold(a[i:i+n+1], b[j:min(j+n+1, len(b))]) {
			return false
		}
		if n == 0 {
			return true
		}
		i, j = i+n+1, j+n+1
	}
}

func countLabels(msg []byte, off int) int {
	n := 0
	for off = label(msg, off); msg[off] != 0; off = label(msg, off+int(msg[off])+1) {
		n++
	}
	return n
}

// within tells whether the name at off is the one at parent or below it.
func within(msg []byte, off, parent int) bool {
	for extra := countLabels(msg, off) - countLabels(msg, parent); extra > 0; extra-- {
		off = label(msg, off)
		off += int(msg[off]) + 1
	}
	return sameName(msg, off, msg, parent)
}

// appendText appends the name at off in presentation form, lower-case and
// without the trailing dot.
func appendText(dst, msg []byte, off int) []byte {
	for first := true; ; first = false {
		off = label(msg, off)
		n := int(msg[off])
		if n == 0 {
			return dst
		}
		if !first {
			dst = append(dst, '.')
		}
		for _, c := range msg[off+1 : off+1+n] {
			dst = appendChar(dst, c)
		}
		off += n + 1
	}
}

// appendChar escapes as RFC 1035 section 5.1 says: a dot by its number, so that
// every dot of a name stands between two labels.
func appendChar(dst []byte, c byte) []byte {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		return append(dst, c)
	case c <= ' ', c >= 0x7f, c == '.':
		return append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
	case c == '\\', c == '"', c == '(', c == ')', c == ';', c == '@', c == '$':
		return append(dst, '\\', c)
	}
	return append(dst, lower(c))
}

// AppendName appends the wire form of a name in presentation form; "" and "."
// are the root, one trailing dot is allowed. The error is ErrName.
func AppendName[T string | []byte](dst []byte, name T) ([]byte, error) {
	start := len(dst)
	if len(name) == 0 || len(name) == 1 && name[0] == '.' {
		return append(dst, 0), nil
	}
	head := len(dst)
	dst = append(dst, 0)
	for i := 0; i < len(name); {
		if name[i] == '.' {
			if !closeLabel(dst, head) {
				return dst[:start], ErrName
			}
			if i++; i == len(name) { // the trailing dot
				break
			}
			head = len(dst)
			dst = append(dst, 0)
			continue
		}
		c, n := unescape(name[i:])
		if n == 0 {
			return dst[:start], ErrName
		}
		dst, i = append(dst, c), i+n
	}
	if !closeLabel(dst, head) || len(dst)-start+1 > MaxName {
		return dst[:start], ErrName
	}
	return append(dst, 0), nil
}

// closeLabel writes the length of the label that begins at head.
func closeLabel(dst []byte, head int) bool {
	n := len(dst) - head - 1
	dst[head] = byte(n)
	return 0 < n && n < 64
}

// unescape reads one octet of a label and returns how long its text was, 0 for
// none.
func unescape[T string | []byte](s T) (byte, int) {
	if s[0] != '\\' {
		return s[0], 1
	}
	if len(s) < 2 {
		return 0, 0
	}
	if s[1] < '0' || s[1] > '9' {
		return s[1], 2
	}
	if len(s) < 4 || s[2] < '0' || s[2] > '9' || s[3] < '0' || s[3] > '9' {
		return 0, 0
	}
	v := int(s[1]-'0')*100 + int(s[2]-'0')*10 + int(s[3]-'0')
	if v > 255 {
		return 0, 0
	}
	return byte(v), 4
}
