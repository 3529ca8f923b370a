package uci

import (
	"errors"
	"fmt"
	"strings"
)

// skipBlank goes to the next statement; false at the end of the file.
func (p *parser) skipBlank() bool {
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == '#':
			p.skipLine()
		case c == ';', isSpace(c):
			p.next()
		case p.continued() > 0:
			p.skip(p.continued())
		default:
			return true
		}
	}
	return false
}

// skipLine goes to the beginning of the next line.
func (p *parser) skipLine() {
	end := strings.IndexByte(p.text[p.pos:], '\n')
	if end < 0 {
		p.pos = len(p.text)
		return
	}
	p.pos += end + 1
	p.line++
}

// words reads the words of a statement, which ends with its line, at a
// semicolon, or at a comment. There is at least one.
func (p *parser) words() ([]string, error) {
	var words []string
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == '\n' || c == ';':
			p.next()
			return words, nil
		case c == '#':
			p.skipLine()
			return words, nil
		case isSpace(c):
			p.next()
		case p.continued() > 0:
			p.skip(p.continued())
		default:
			w, err := p.word()
			if err != nil {
				return nil, err
			}
			words = append(words, w)
		}
	}
	return words, nil
}

// word reads one word, any parts of which may be quoted.
func (p *parser) word() (string, error) {
	var b strings.Builder
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		if c == ';' || c == '#' || isSpace(c) {
			break
		}
		switch c {
		case '\'', '"':
			if err := p.quoted(&b, c); err != nil {
				return "", err
			}
		case '\\':
			p.escaped(&b)
		default:
			b.WriteByte(p.next())
		}
	}
	if strings.IndexByte(b.String(), 0) >= 0 {
		return "", errors.New("it holds a NUL byte")
	}
	return b.String(), nil
}

// quoted reads up to the closing quote, over line ends too. A backslash is
// special between double quotes only.
func (p *parser) quoted(b *strings.Builder, quote byte) error {
	p.next()
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == quote:
			p.next()
			return nil
		case c == '\\' && quote == '"':
			p.escaped(b)
		default:
			b.WriteByte(p.next())
		}
	}
	return fmt.Errorf("the quote %c is not closed", quote)
}

// escaped reads a backslash and the byte behind it, which stands for itself; a
// line end behind it is not there.
func (p *parser) escaped(b *strings.Builder) {
	if n := p.continued(); n > 0 {
		p.skip(n)
		return
	}
	p.next()
	b.WriteByte(p.next())
}

// continued is the length of a backslash with the line end behind it, LF or
// CRLF, or at the end of the file; 0 if there is none here.
func (p *parser) continued() int {
	for _, s := range []string{"\\\n", "\\\r\n"} {
		if strings.HasPrefix(p.text[p.pos:], s) {
			return len(s)
		}
	}
	if p.text[p.pos:] == `\` {
		return 1
	}
	return 0
}

// next takes one byte.
func (p *parser) next() byte {
	c := p.text[p.pos]
	p.pos++
	if c == '\n' {
		p.line++
	}
	return c
}

func (p *parser) skip(n int) {
	for range n {
		p.next()
	}
}

// isSpace is isspace(3) of the C locale, by which libuci separates words.
func isSpace(c byte) bool {
	return c == ' ' || c >= '\t' && c <= '\r'
}
