package ubus

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
)

func TestAMessageIsWrittenAsTheFormatSays(t *testing.T) {
	m := message{kind: msgLookup, seq: 1, attrs: appendText(nil, attrPath, "network.interface")}
	want := unhex(t, `00 04 0001 00000000 0000001c
		02000016 6e6574776f726b2e696e7465726661636500 0000`)
	if got := m.bytes(); !bytes.Equal(got, want) {
		t.Errorf("the message is\n%x, want\n%x", got, want)
	}
}

func TestAMessageIsReadAsTheFormatSays(t *testing.T) {
	m, err := readMessage(bytes.NewReader(unhex(t, `00 01 0102 00000304 0000000c 01000008 00000006`)))
	want := message{kind: msgStatus, seq: 0x102, peer: 0x304, attrs: unhex(t, "01000008 00000006")}
	if err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("the message is %+v, %v, want %+v", m, err, want)
	}
	if got := Status(find(m.attrs, attrStatus).number()); got != PermissionDenied || got.Error() != "permission denied" {
		t.Errorf("the status is %v, want permission denied", got)
	}
}

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	for what, text := range map[string]string{
		"another version":                    "01 00 0000 00000000 00000004",
		"a length below its own":             "00 00 0000 00000000 00000003",
		"a length over what ubusd allows":    "00 00 0000 00000000 00100001",
		"an end within the header":           "00 00 0000 0000",
		"an end within the attributes":       "00 00 0000 00000000 00000008 0000",
		"an end before the first attributes": "00 00 0000 00000000 00000008",
	} {
		if m, err := readMessage(bytes.NewReader(unhex(t, text))); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: read %+v, %v, want a mistake", what, m, err)
		}
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add(message{kind: msgData, seq: 7, peer: 9, attrs: appendNumber(appendText(nil, attrPath, "service"), attrObject, 5)}.bytes())
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readMessage(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := readMessage(bytes.NewReader(message{m.kind, m.seq, m.peer, pad(m.attrs)}.bytes()))
		if err != nil || !bytes.HasPrefix(again.attrs, m.attrs) || again.seq != m.seq || again.peer != m.peer {
			t.Errorf("%+v was written and read as %+v, %v", m, again, err)
		}
		for id := range byte(16) {
			a := find(m.attrs, id)
			_, _ = a.text(), a.number()
		}
	})
}
