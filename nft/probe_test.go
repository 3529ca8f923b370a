package nft

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAKernelThatHasEverythingIsFineAndLeftAsItWas(t *testing.T) {
	table := open(t, enterNetNS(t))
	check(t, "Probe", table.Probe())
	check(t, "ProbeInterfaces", table.ProbeInterfaces())
	for _, f := range features() {
		if err := table.probe(f); err != nil {
			t.Errorf("trying %s alone: %v", f.name, err)
		}
	}
	if out := run(t, "", "nft", "list", "ruleset"); out != "" {
		t.Errorf("Probe left behind\n%s", out)
	}
}

func TestAMissingFeatureIsNamedWithItsPackage(t *testing.T) {
	err := missing(features(), func(f feature) error {
		if f.pack == "kmod-nft-tproxy" || f.pack == "kmod-nft-socket" {
			return unix.ENOENT
		}
		return nil
	})
	for _, want := range []string{"transparent proxying (OpenWrt package kmod-nft-tproxy)", "kmod-nft-socket"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("missing = %v, want it to say %q", err, want)
		}
	}
}

func TestWithoutNFTablesNothingElseIsMissed(t *testing.T) {
	err := missing(features(), func(feature) error { return unix.EOPNOTSUPP })
	if err == nil || strings.Contains(err.Error(), "tproxy") || !strings.Contains(err.Error(), "kmod-nft-core") {
		t.Errorf("missing = %v, want kmod-nft-core only", err)
	}
}

func TestWithoutPrivilegeTheErrorSaysWhich(t *testing.T) {
	enterNetNS(t)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // of this thread, which ends with the test
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatalf("dropping capabilities: %v", err)
	}
	err := open(t, 0).Probe()
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("Probe = %v, want EPERM and the capability", err)
	}
}
