package sniff

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

var testID = []byte{0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08} // of RFC 9001, A

// addAll adds datagrams to a new QUIC up to a final answer.
func addAll(datagrams ...[]byte) (res Result, err error) {
	var q QUIC
	for _, d := range datagrams {
		if res, err = q.Add(d); err == nil {
			break
		}
	}
	return res, err
}

func TestQUICTellsEveryClientOfTheCorpus(t *testing.T) {
	for _, e := range corpus(t, "quic") {
		got, err := addAll(e.parts...)
		if got != e.want || err != nil {
			t.Errorf("%s: Add = %+v, %v, want %+v", e.name, got, err, e.want)
		}
		if !IsQUIC(e.parts[0]) {
			t.Errorf("%s: IsQUIC = false, want true", e.name)
		}
	}
}

func TestQUICDatagramsMayComeInAnyOrderAndTwice(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, e := range corpus(t, "quic") {
		if e.name == "quic-go-retry" {
			continue // two attempts: below
		}
		for range 30 {
			var sent [][]byte
			for _, d := range e.parts {
				if IsQUIC(d) {
					sent = append(sent, d, d)
				}
			}
			rnd.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
			if got, err := addAll(sent...); got != e.want || err != nil {
				t.Fatalf("%s shuffled: Add = %+v, %v, want %+v", e.name, got, err, e.want)
			}
		}
	}
}

func TestQUICIsSureOfTheProtocolBeforeTheName(t *testing.T) {
	want := Result{Protocol: policy.QUIC}
	for _, e := range corpus(t, "quic") {
		if e.name != "quic-go-v1" && e.name != "quic-go-v2" {
			continue
		}
		if got, err := addAll(e.parts[0]); got != want || err != ErrMore {
			t.Errorf("%s: Add of the first of two datagrams = %+v, %v, want %+v, ErrMore", e.name, got, err, want)
		}
	}
}

func TestQUICNeitherKeepsNorChangesDatagrams(t *testing.T) {
	for _, e := range corpus(t, "quic") {
		var q QUIC
		var got Result
		for _, d := range e.parts {
			sent := bytes.Clone(d)
			res, err := q.Add(sent)
			if !bytes.Equal(sent, d) {
				t.Fatalf("%s: Add changed the datagram, want it as it was", e.name)
			}
			clear(sent) // as a caller that reuses its buffer
			if got = res; err == nil {
				break
			}
		}
		if got != e.want {
			t.Errorf("%s: Add into one buffer = %+v, want %+v", e.name, got, e.want)
		}
	}
}

// TestInitialKeysAndProtectionAreThoseOfTheRFCs seals the packet of RFC 9001
// A.2 and RFC 9369 A.2 and compares what those print.
func TestInitialKeysAndProtectionAreThoseOfTheRFCs(t *testing.T) {
	clientHello := readEntry(t, "testdata/rfc9001-a2-crypto.hex").parts[0]
	tests := []struct {
		version    uint32
		iv, packet string
	}{
		{version1, "fa044b2f42a3fd3b46fb255c",
			"c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9bd8bab936b47d92ec356c"},
		{version2, "91f73e2351d8fa91660e909f",
			"d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071bf03dceebfa162e75d6c"},
	}
	for _, tt := range tests {
		keys := deriveKeys(tt.version, testID)
		if got := hex.EncodeToString(keys.iv[:]); got != tt.iv {
			t.Errorf("version %#x: got iv %s, want %s", tt.version, got, tt.iv)
		}
		p := initialPacket{version: tt.version, dcid: testID, number: 2, payload: padded(1162, clientHello)}.seal()
		if got := hex.EncodeToString(p[:len(tt.packet)/2]); got != tt.packet {
			t.Errorf("version %#x: got packet %s…, want %s…", tt.version, got, tt.packet)
		}
		want := Result{Protocol: policy.QUIC, Host: "example.com"}
		if got, err := addAll(p); got != want || err != nil {
			t.Errorf("version %#x: Add = %+v, %v, want %+v", tt.version, got, err, want)
		}
	}
}

// flight cuts hello in frames, some of which overlap, and those in datagrams
// with everything a client may put between.
func flight(rnd *rand.Rand, version uint32, hello []byte) [][]byte {
	var frames [][]byte
	for start := 0; start < len(hello); {
		end := min(len(hello), start+1+rnd.IntN(400))
		from := max(0, start-rnd.IntN(30))
		frames = append(frames, cryptoFrame(from, hello[from:end]))
		start = end
	}
	rnd.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })

	between := [][]byte{
		{framePing},
		make([]byte, 1+rnd.IntN(20)),
		{frameAck, 5, 0, 1, 2, 0, 1},
		{frameAckECN, 0x40, 5, 0, 0, 2, 1, 2, 3},
		{frameConnectionClose, 0, 6, 2, 'n', 'o'},
	}
	var datagrams [][]byte
	open := false // nothing without a length is in the last datagram
	for number := uint64(0); len(frames) > 0; number++ {
		n := min(len(frames), 1+rnd.IntN(4))
		var payload []byte
		for _, f := range frames[:n] {
			payload = slices.Concat(payload, between[rnd.IntN(len(between))], f)
		}
		frames = frames[n:]
		p := initialPacket{
			version: version, dcid: testID, token: make([]byte, rnd.IntN(40)),
			number: number, bytes: 1 + rnd.IntN(4), payload: padded(rnd.IntN(1000), payload),
		}.seal()
		k := rnd.IntN(4)
		switch {
		case k == 0:
			p = append(p, zeroRTTPacket(version, testID)...)
		case k == 1 && open:
			i := len(datagrams) - 1
			datagrams[i] = append(datagrams[i], p...) // coalesced
			continue
		case k == 2: // and none behind this
			p = append(p, bytes.Repeat([]byte{0x40, 1, 2, 3}, 20)...) // a short header
		}
		datagrams, open = append(datagrams, p), k != 2
	}
	return datagrams
}

func TestQUICHelloIsFoundOnceAllOfItCame(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	want := Result{Protocol: policy.QUIC, Host: "pad.example"}
	for range 300 {
		version := []uint32{version1, version2}[rnd.IntN(2)]
		datagrams := flight(rnd, version, helloOfLength(300+rnd.IntN(4000)))
		rnd.Shuffle(len(datagrams), func(i, j int) { datagrams[i], datagrams[j] = datagrams[j], datagrams[i] })
		if len(datagrams) > maxDatagrams {
			continue
		}
		got, err := addAll(datagrams...)
		if got != want || err != nil {
			t.Fatalf("Add of %d datagrams of version %#x = %+v, %v, want %+v", len(datagrams), version, got, err, want)
		}
	}
}

func TestQUICAfterRetryUsesTheNewConnectionID(t *testing.T) {
	whole := hello(sni("retry.example"))
	half := len(whole) / 2
	newID := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	first := initialPacket{version: version1, dcid: testID, payload: padded(1162, cryptoFrame(0, whole[:half]))}.seal()
	again := initialPacket{version: version1, dcid: newID, token: []byte("token"), payload: padded(1162, cryptoFrame(0, whole))}.seal()
	want := Result{Protocol: policy.QUIC, Host: "retry.example"}
	if got, err := addAll(first, again); got != want || err != nil {
		t.Errorf("Add after Retry = %+v, %v, want %+v", got, err, want)
	}
}

func TestQUICAfterTheServersAnswerKeepsTheKeys(t *testing.T) {
	whole := hello(sni("answered.example"))
	half := len(whole) / 2
	first := initialPacket{version: version1, dcid: testID, payload: padded(1162, cryptoFrame(0, whole[:half]))}.seal()
	second := initialPacket{version: version1, dcid: []byte{9, 9, 9, 9}, keyed: testID, number: 1, payload: padded(1162, cryptoFrame(half, whole[half:]))}.seal()
	want := Result{Protocol: policy.QUIC, Host: "answered.example"}
	if got, err := addAll(first, second); got != want || err != nil {
		t.Errorf("Add with the server's connection ID = %+v, %v, want %+v", got, err, want)
	}
}

func TestQUICGivesUpOnWhatCannotBeRead(t *testing.T) {
	whole := hello(sni("x.example"))
	good := initialPacket{version: version1, dcid: testID, payload: padded(1162, cryptoFrame(0, whole[:20]))}.seal()
	seal := func(frames ...[]byte) []byte {
		return initialPacket{version: version1, dcid: testID, payload: padded(1162, frames...)}.seal()
	}
	at := func(b []byte, i int, c byte) []byte {
		b = bytes.Clone(b)
		b[i] = c
		return b
	}
	var gaps [][]byte
	for i := range maxGaps + 1 {
		gaps = append(gaps, cryptoFrame(2*i, []byte{1}))
	}
	retryPacket := append(longHeader(version1, retry, testID), make([]byte, 100)...)
	unknown, nameless := Result{}, Result{Protocol: policy.QUIC}
	tests := []struct {
		name string
		sent [][]byte
		want Result
	}{
		{"nothing", [][]byte{nil}, unknown},
		{"one byte", [][]byte{{0xc0}}, unknown},
		{"a short header", [][]byte{append([]byte{0x40}, testID...)}, unknown},
		{"an unknown version", [][]byte{at(good, 4, 9)}, unknown},
		{"version negotiation", [][]byte{at(good, 4, 0)}, unknown},
		{"a Retry", [][]byte{retryPacket}, unknown},
		{"a handshake packet", [][]byte{at(good, 0, 0xe0)}, unknown},
		{"a long connection ID", [][]byte{at(good, 5, 21)}, unknown},
		{"a packet that is cut off", [][]byte{good[:len(good)-1]}, unknown},
		{"a packet that was changed", [][]byte{at(good, 100, ^good[100])}, unknown},
		{"a packet under other keys", [][]byte{initialPacket{version: version1, dcid: testID, keyed: []byte("other"), payload: padded(1162)}.seal()}, unknown},
		{"a packet without a sample", [][]byte{append(appendVarint2(append(longHeader(version1, initial, testID), 0), 19), make([]byte, 19)...)}, unknown},
		{"a packet longer than maxInitial", [][]byte{initialPacket{version: version1, dcid: testID, payload: padded(maxInitial, cryptoFrame(0, whole))}.seal()}, unknown},
		{"a short header in the middle", [][]byte{good, {0x40, 1, 2, 3}}, nameless},
		{"a frame that must not be there", [][]byte{seal([]byte{0x08, 0, 1})}, nameless},
		{"a frame that is cut off", [][]byte{seal(make([]byte, 1100), []byte{frameCrypto, 0, 0x7f, 0xff})}, nameless},
		{"an ACK with endless ranges", [][]byte{seal([]byte{frameAck, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0})}, nameless},
		{"data behind maxHello", [][]byte{seal(cryptoFrame(maxHello, []byte{1}))}, nameless},
		{"data far behind maxHello", [][]byte{seal([]byte{frameCrypto, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1})}, nameless},
		{"more gaps than maxGaps", [][]byte{seal(gaps...)}, nameless},
		{"a server's hello", [][]byte{seal(cryptoFrame(0, []byte{2, 0, 0, 40}))}, nameless},
		{"a malformed hello", [][]byte{seal(cryptoFrame(0, hello(sni("x.example"), []byte{0})))}, nameless},
		{"more datagrams than maxDatagrams", slices.Repeat([][]byte{good}, maxDatagrams), nameless},
		{"early data for ever", slices.Repeat([][]byte{zeroRTTPacket(version1, testID)}, maxDatagrams), unknown},
	}
	for _, tt := range tests {
		var q QUIC
		for i, d := range tt.sent[:len(tt.sent)-1] {
			if _, err := q.Add(d); err != ErrMore {
				t.Fatalf("%s: Add of datagram %d: got error %v, want ErrMore", tt.name, i, err)
			}
		}
		last := tt.sent[len(tt.sent)-1]
		if got, err := q.Add(last); got != tt.want || err != nil {
			t.Errorf("%s: Add = %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
		complete := seal(cryptoFrame(0, whole))
		if got, err := q.Add(complete); got != tt.want || err != nil {
			t.Errorf("%s: Add after the final answer = %+v, %v, want %+v again", tt.name, got, err, tt.want)
		}
	}
}

func TestQUICPassesOverWhatOthersMayHaveSent(t *testing.T) {
	whole := hello(sni("x.example"))
	half := len(whole) / 2
	seal := func(offset int, data []byte) []byte {
		return initialPacket{version: version1, dcid: testID, payload: padded(300, cryptoFrame(offset, data))}.seal()
	}
	first, second := seal(0, whole[:half]), seal(half, whole[half:])
	otherID := initialPacket{version: version1, dcid: []byte("stranger"), payload: padded(300, cryptoFrame(0, []byte{2}))}.seal()
	changed := bytes.Clone(second)
	changed[len(changed)-1] ^= 1
	greased := bytes.Clone(first)
	greased[0] &^= 0x40 // the fixed bit is authenticated, so this one cannot be opened

	want := Result{Protocol: policy.QUIC, Host: "x.example"}
	tests := []struct {
		name string
		sent [][]byte
	}{
		{"a coalesced packet with another connection ID", [][]byte{slices.Concat(first, otherID), second}},
		{"a changed packet", [][]byte{first, changed, second}},
		{"a changed coalesced packet", [][]byte{slices.Concat(first, changed), second}},
		{"a packet with a changed fixed bit", [][]byte{first, greased, second}},
		{"early data before the first Initial", [][]byte{zeroRTTPacket(version1, testID), first, second}},
		{"early data in front of an Initial", [][]byte{slices.Concat(zeroRTTPacket(version1, testID), first), second}},
	}
	for _, tt := range tests {
		if got, err := addAll(tt.sent...); got != want || err != nil {
			t.Errorf("%s: Add = %+v, %v, want %+v", tt.name, got, err, want)
		}
	}
}

// TestCryptoStreamIsTheSameAsAMap compares the reassembly with the naive one.
func TestCryptoStreamIsTheSameAsAMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		size := 1 + rnd.IntN(300)
		source := make([]byte, size)
		for i := range source {
			source[i] = byte(rnd.Uint32())
		}
		var s cryptoStream
		have := map[int]bool{}
		for range rnd.IntN(60) {
			start := rnd.IntN(size)
			end := start + rnd.IntN(min(40, size-start)+1)
			if !s.add(uint64(start), source[start:end]) {
				t.Fatalf("add of bytes %d to %d: got false, want true", start, end)
			}
			for i := start; i < end; i++ {
				have[i] = true
			}
			n := 0
			for have[n] {
				n++
			}
			if got := s.head(); !bytes.Equal(got, source[:n]) {
				t.Fatalf("head: got %d bytes, want the first %d", len(got), n)
			}
		}
	}
}
