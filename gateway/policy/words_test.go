package policy_test

import (
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestWordsAreReadAndWrittenAlike(t *testing.T) {
	check(t, policy.ParseMode, map[string]policy.Mode{"fakeip": policy.FakeIP, "realip": policy.RealIP, "off": policy.Off})
	check(t, policy.ParseProto, map[string]policy.Proto{"tcp": policy.TCP, "udp": policy.UDP})
	check(t, policy.ParseProtocol, map[string]policy.Protocol{
		"tls": policy.TLS, "http": policy.HTTP, "quic": policy.QUIC, "ssh": policy.SSH, "bittorrent": policy.BitTorrent, "stun": policy.STUN, "dns": policy.DNS,
	})
	check(t, policy.ParsePorts, map[string]policy.PortRange{"443": {First: 443, Last: 443}, "8000-9000": {First: 8000, Last: 9000}, "1-65535": {First: 1, Last: 65535}})
	check(t, policy.ParseMAC, map[string]policy.MAC{"aa:bb:cc:dd:ee:0f": {0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x0f}})
	check(t, policy.ParsePattern, map[string]policy.Pattern{"domain:a.cn": patterns(t, "a.cn")[0], "full:a.cn": patterns(t, "full:A.cn")[0], "keyword:a": patterns(t, "keyword:a")[0]})
}

func check[T interface {
	comparable
	String() string
}](t *testing.T, parse func(string) (T, error), words map[string]T) {
	t.Helper()
	for word, value := range words {
		if got, err := parse(word); err != nil || got != value {
			t.Errorf("parsing %q = %s, %v, want %s", word, got, err, value)
		}
		if got := value.String(); got != word {
			t.Errorf("String() = %q, want %q", got, word)
		}
	}
}

func TestOtherWordsAreRefused(t *testing.T) {
	refuse(t, policy.ParseMode, "", "FakeIP", "mode 3")
	refuse(t, policy.ParseProto, "", "icmp", "unknown", "6")
	refuse(t, policy.ParseProtocol, "", "unknown", "smtp", "TLS")
	refuse(t, policy.ParsePorts, "", "0", "65536", "443-", "-443", "9000-8000", "0-443", "+443", " 443", "80-90-100", "https")
	refuse(t, policy.ParseMAC, "", "aa:bb:cc:dd:ee", "00:00:00:00:00:00", "02:00:5e:10:00:00:00:01", "aa:bb:cc:dd:ee:gg")
}

func refuse[T any](t *testing.T, parse func(string) (T, error), words ...string) {
	t.Helper()
	for _, word := range words {
		if got, err := parse(word); err == nil {
			t.Errorf("parsing %q = %v, want an error", word, got)
		}
	}
}

func TestEthernetAddressesAreReadInOtherNotations(t *testing.T) {
	for _, s := range []string{"AA:BB:CC:DD:EE:FF", "aa-bb-cc-dd-ee-ff", "aabb.ccdd.eeff"} {
		if got, want := mac(t, s), mac(t, "aa:bb:cc:dd:ee:ff"); got != want {
			t.Errorf("ParseMAC(%s) = %s, want %s", s, got, want)
		}
	}
}

func TestKindsAndTheUnknownHaveWords(t *testing.T) {
	for got, want := range map[string]string{
		policy.Direct.String():          "direct",
		policy.Reject.String():          "reject",
		policy.Interface.String():       "interface",
		policy.Node.String():            "node",
		policy.Proto(0).String():        "unknown",
		policy.UnknownProtocol.String(): "unknown",
		policy.Kind(9).String():         "kind 9",
		policy.Proto(9).String():        "proto 9",
		policy.Protocol(99).String():    "protocol 99",
		policy.Mode(9).String():         "mode 9",
	} {
		if got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}

func TestOnlyWhatIsKnownIsAMemberOfASet(t *testing.T) {
	if got := policy.Proto(0).Set() | policy.Proto(1).Set(); got != 0 {
		t.Errorf("the set of unknown transports is %b, want empty", got)
	}
	if got := policy.UnknownProtocol.Set(); got != 0 {
		t.Errorf("the set of the unknown protocol is %b, want empty", got)
	}
	if got, want := policy.UDP.Set(), policy.SetUDP; got != want {
		t.Errorf("UDP.Set() = %b, want %b", got, want)
	}
}
