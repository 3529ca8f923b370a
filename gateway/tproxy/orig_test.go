package tproxy

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// control builds one control message as the kernel writes it.
func controlMessage(level, kind int, data []byte) []byte {
	m := make([]byte, unix.CmsgSpace(len(data)))
	length := binary.NativeEndian.AppendUint64(nil, uint64(unix.CmsgLen(len(data))))
	at := copy(m, length[:unix.CmsgLen(0)-8]) // size_t, as wide as this machine's
	binary.NativeEndian.PutUint32(m[at:], uint32(level))
	binary.NativeEndian.PutUint32(m[at+4:], uint32(kind))
	copy(m[unix.CmsgLen(0):], data)
	return m
}

// sockaddr4 and sockaddr6 are struct sockaddr_in and sockaddr_in6.
func sockaddr4(a netip.AddrPort) []byte {
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
	b = binary.BigEndian.AppendUint16(b, a.Port())
	return append(append(b, a.Addr().AsSlice()...), make([]byte, 8)...)
}

func sockaddr6(a netip.AddrPort) []byte {
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
	b = binary.BigEndian.AppendUint16(b, a.Port())
	b = append(b, 1, 2, 3, 4) // flow label
	return append(append(b, a.Addr().AsSlice()...), make([]byte, 4)...)
}

var (
	dst4   = netip.MustParseAddrPort("203.0.113.5:443")
	dst6   = netip.MustParseAddrPort("[2001:db8::5]:8443")
	mapped = netip.AddrPortFrom(netip.AddrFrom16(dst4.Addr().As16()), 443)
)

func TestOriginalDstIsFoundAmongControlMessages(t *testing.T) {
	orig4 := controlMessage(unix.SOL_IP, unix.IP_ORIGDSTADDR, sockaddr4(dst4))
	orig6 := controlMessage(unix.SOL_IPV6, unix.IPV6_ORIGDSTADDR, sockaddr6(dst6))
	ttl := controlMessage(unix.SOL_IP, unix.IP_TTL, []byte{64, 0, 0, 0})
	odd := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMP, make([]byte, 5)) // needs padding
	for name, tt := range map[string]struct {
		oob  []byte
		want netip.AddrPort
	}{
		"IPv4":          {orig4, dst4},
		"IPv6":          {orig6, dst6},
		"mapped IPv4":   {controlMessage(unix.SOL_IPV6, unix.IPV6_ORIGDSTADDR, sockaddr6(mapped)), dst4},
		"behind others": {slices.Concat(ttl, odd, orig6), dst6},
		"before others": {slices.Concat(orig4, ttl), dst4},
		"unpadded":      {orig4[:unix.CmsgLen(16)], dst4},
	} {
		if got, err := OriginalDst(tt.oob); err != nil || got != tt.want {
			t.Errorf("%s: OriginalDst = %s, %v, want %s", name, got, err, tt.want)
		}
	}
}

func TestControlMessagesWithoutADestinationAreRefused(t *testing.T) {
	orig4 := controlMessage(unix.SOL_IP, unix.IP_ORIGDSTADDR, sockaddr4(dst4))
	long, short := slices.Clone(orig4), slices.Clone(orig4)
	long[0], short[0] = 0xff, 3
	for name, oob := range map[string][]byte{
		"nothing":                     nil,
		"another message":             controlMessage(unix.SOL_IP, unix.IP_TTL, []byte{64, 0, 0, 0}),
		"cut in the header":           orig4[:unix.CmsgLen(0)-1],
		"cut in the address":          orig4[:unix.CmsgLen(7)],
		"longer than what there is":   long,
		"shorter than its header":     short,
		"an address of 7 bytes":       controlMessage(unix.SOL_IP, unix.IP_ORIGDSTADDR, sockaddr4(dst4)[:7]),
		"an IPv6 address of 23 bytes": controlMessage(unix.SOL_IPV6, unix.IPV6_ORIGDSTADDR, sockaddr6(dst6)[:23]),
		"of the other level":          controlMessage(unix.SOL_IPV6, unix.IP_ORIGDSTADDR, sockaddr4(dst4)),
	} {
		if got, err := OriginalDst(oob); err == nil || got.IsValid() {
			t.Errorf("%s: OriginalDst = %s, %v, want an error", name, got, err)
		}
	}
	if _, err := OriginalDst(nil); !errors.Is(err, errNoOriginalDst) {
		t.Errorf("OriginalDst of nothing = %v, want %v", err, errNoOriginalDst)
	}
}

func FuzzOriginalDst(f *testing.F) {
	f.Add(controlMessage(unix.SOL_IP, unix.IP_ORIGDSTADDR, sockaddr4(dst4)))
	f.Add(controlMessage(unix.SOL_IPV6, unix.IPV6_ORIGDSTADDR, sockaddr6(dst6)))
	f.Add(slices.Concat(controlMessage(unix.SOL_IP, unix.IP_TTL, []byte{1}), controlMessage(unix.SOL_IP, unix.IP_ORIGDSTADDR, sockaddr4(dst4))))
	f.Fuzz(func(t *testing.T, oob []byte) {
		kept := slices.Clone(oob)
		got, err := OriginalDst(oob)
		if got.IsValid() == (err != nil) {
			t.Errorf("OriginalDst = %s and error %v, want one of them", got, err)
		}
		if got.Addr().Is4In6() {
			t.Errorf("OriginalDst = %s, want it unmapped", got)
		}
		if !slices.Equal(kept, oob) {
			t.Error("OriginalDst changed what it read")
		}
	})
}
