package ubus

import (
	"encoding/binary"
	"iter"
)

// kind is the type of a value: the id of its attribute (blobmsg.h of libubox).
type kind byte

const (
	kindArray kind = 1 + iota
	kindTable
	kindText
	kindInt64
	kindInt32
	kindInt16
	kindInt8 // booleans, too
)

// Value is one value of a message, as it was received. It is looked into only
// when it is asked: what is not there, is of another type or does not hold what
// its length says, is as good as absent. The zero Value is absent.
type Value struct {
	kind kind
	data []byte
}

// All gives the elements of a table by name, or those of an array without names,
// in their order.
func (v Value) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.kind != kindTable && v.kind != kindArray {
			return
		}
		for b := v.data; ; {
			a, rest, ok := cut(b)
			if !ok {
				return
			}
			if name, data, ok := a.unwrap(); ok && !yield(name, Value{kind(a.id), data}) {
				return
			}
			b = rest
		}
	}
}

// unwrap parts an attribute's name from its value. The name comes with its
// length before it and a zero behind it, padded like an attribute.
func (a attr) unwrap() (name string, data []byte, ok bool) {
	const lengthLen = 2
	if !a.named {
		return "", a.data, true
	}
	if len(a.data) < lengthLen {
		return "", nil, false
	}
	end := lengthLen + int(binary.BigEndian.Uint16(a.data))
	value := padded(end + 1)
	if value > len(a.data) || a.data[end] != 0 {
		return "", nil, false
	}
	return string(a.data[lengthLen:end]), a.data[value:], true
}

// Get gives the element of a table that has a name.
func (v Value) Get(name string) Value {
	for n, e := range v.All() {
		if n == name {
			return e
		}
	}
	return Value{}
}

// Text gives a string, or an empty one.
func (v Value) Text() string {
	if v.kind != kindText {
		return ""
	}
	return attr{data: v.data}.text()
}

// Int gives an integer of any width, or 0.
func (v Value) Int() int64 {
	switch {
	case v.kind == kindInt8 && len(v.data) == 1:
		return int64(int8(v.data[0]))
	case v.kind == kindInt16 && len(v.data) == 2:
		return int64(int16(binary.BigEndian.Uint16(v.data)))
	case v.kind == kindInt32 && len(v.data) == 4:
		return int64(int32(binary.BigEndian.Uint32(v.data)))
	case v.kind == kindInt64 && len(v.data) == 8:
		return int64(binary.BigEndian.Uint64(v.data))
	}
	return 0
}

// Bool gives a boolean, or false.
func (v Value) Bool() bool { return v.kind == kindInt8 && v.Int() != 0 }

// Table is a table to be sent. The zero Table is empty.
type Table struct{ b []byte }

// Text adds a string.
func (t Table) Text(name, s string) Table {
	return t.add(kindText, name, append([]byte(s), 0))
}

// Int adds a number.
func (t Table) Int(name string, n uint32) Table {
	return t.add(kindInt32, name, binary.BigEndian.AppendUint32(nil, n))
}

func (t Table) add(k kind, name string, data []byte) Table {
	body := binary.BigEndian.AppendUint16(nil, uint16(len(name)))
	body = pad(append(append(body, name...), 0))
	body = append(body, data...)
	at := len(t.b)
	b := appendAttr(t.b[:at:at], byte(k), body)
	b[at] |= named >> idShift
	return Table{b}
}
