package ubus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxMessage bounds what is read and written, in octets without the header of
// the message: what ubusd itself allows (UBUS_MAX_MSGLEN).
const maxMessage = 1 << 20

// Types of messages (enum ubus_msg_type of ubusmsg.h).
const (
	msgHello byte = iota
	msgStatus
	msgData
	_ // ping
	msgLookup
	msgInvoke
	msgAddObject
	_ // remove object
	msgSubscribe
	msgUnsubscribe
)

// Attributes of messages (enum ubus_msg_attr of ubusmsg.h).
const (
	attrStatus  byte = 1
	attrPath    byte = 2
	attrObject  byte = 3
	attrMethod  byte = 4
	attrData    byte = 7
	attrTarget  byte = 8
	attrNoReply byte = 10
)

// message is one message: a header of eight octets, and an attribute with id 0
// that holds all others.
type message struct {
	kind  byte
	seq   uint16 // an answer has that of its question
	peer  uint32
	attrs []byte
}

// prefixLen is the header and the head of the attribute behind it.
const prefixLen = 8 + headLen

func (m message) bytes() []byte {
	b := make([]byte, 0, prefixLen+len(m.attrs))
	b = append(b, 0, m.kind) // the first is the version
	b = binary.BigEndian.AppendUint16(b, m.seq)
	b = binary.BigEndian.AppendUint32(b, m.peer)
	return appendAttr(b, 0, m.attrs)
}

func readMessage(r io.Reader) (message, error) {
	var prefix [prefixLen]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return message{}, err
	}
	if prefix[0] != 0 {
		return message{}, fmt.Errorf("protocol version %d is not known", prefix[0])
	}
	n := int(binary.BigEndian.Uint32(prefix[8:]) & lengthMask)
	if n < headLen || n > maxMessage {
		return message{}, fmt.Errorf("a message cannot have %d octets", n)
	}
	m := message{
		kind: prefix[1], seq: binary.BigEndian.Uint16(prefix[2:]), peer: binary.BigEndian.Uint32(prefix[4:]),
		attrs: make([]byte, n-headLen),
	}
	_, err := io.ReadFull(r, m.attrs)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return m, err
}

// Status is why ubusd or a method refused (enum ubus_msg_status of ubusmsg.h).
type Status uint32

// The statuses that a caller may want to tell apart.
const (
	NotFound         Status = 4
	PermissionDenied Status = 6
)

// Error is the text that libubus has for the status.
func (s Status) Error() string {
	names := [...]string{
		"no mistake", "invalid command", "invalid argument", "method not found", "not found", "no data", "permission denied",
		"timeout", "not supported", "unknown error", "connection failed", "no memory", "parse error", "system error",
	}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("status %d", uint32(s))
}
