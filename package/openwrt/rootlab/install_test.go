package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

func TestInstalledItDoesNothingUntilItIsEnabled(t *testing.T) {
	r := boot(t)
	before := r.kernel()
	configs := r.sh("cd /etc/config && md5sum $(ls | grep -v fairlead)")
	r.install()
	if all := r.instances(); len(all) != 0 {
		t.Errorf("procd runs %v, want nothing of a package that was just installed", all)
	}
	wantSame(t, "the kernel", r.kernel(), before)
	if now := r.sh("cd /etc/config && md5sum $(ls | grep -v fairlead)"); now != configs {
		t.Errorf("the configurations of others are now\n%swant\n%s", now, configs)
	}
	if text := r.sh("fairlead check 2>&1"); !strings.Contains(text, "is valid") {
		t.Errorf("the configuration that is shipped: %s", text)
	}
	if r.sh("/etc/init.d/fairlead enabled && echo yes") != "yes\n" {
		t.Error("it would not be started at boot once it is enabled")
	}
}

func TestRemovedItLeavesTheRouterAsItWas(t *testing.T) {
	r := bootWith(t, time.Second)
	files, kernel, rules := r.files(), r.kernel(), len(r.input())
	r.install()
	r.configure(lab.Config{})
	r.sh("/etc/init.d/fairlead start")
	r.daemon()
	r.firewalled()
	r.wantNode("laptop")
	// For five seconds it lies dead, and what it left is the stop's to take back.
	r.kill()
	r.sh("opkg remove fairlead")
	until(t, "the firewall takes its rule back", func() bool { return len(r.input()) == rules })
	if r.read("/etc/config/fairlead") == "" {
		t.Error("the configuration is gone, want opkg to keep what the user wrote")
	}
	ok(t, os.Remove(r.root+"/etc/config/fairlead"))
	wantSame(t, "the files", r.files(), files)
	wantSame(t, "the kernel", r.kernel(), kernel)
}
