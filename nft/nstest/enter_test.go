package nstest_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead/fairlead/nft/nstest"
)

const nobody = 65534

func TestWithoutPrivilegeTheProgramRunsAgainInAUserNamespace(t *testing.T) {
	if os.Getenv("FAIRLEAD_IN_USER_NAMESPACE") != "" {
		namespace(t, "inside") // this very run was entered that way
		return
	}
	cmd := exec.Command(readable(t), "-test.run", "^TestLinkedNamespacesReachEachOtherAtOnce$|^TestInside|^TestThisProcess", "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("running as nobody: %v\n%s", err, out)
	}
	for _, want := range []string{
		"--- PASS: TestLinkedNamespacesReachEachOtherAtOnce",
		"--- PASS: TestInsideAUserNamespaceThisProcessIsRoot",
		"--- PASS: TestThisProcessReachesItselfOverLoopback",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
}

func TestThisProcessReachesItselfOverLoopback(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listening on loopback: %v", err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("connecting over loopback: %v", err)
	}
	c.Close()
}

func TestInsideAUserNamespaceThisProcessIsRoot(t *testing.T) {
	if got := os.Getuid(); got != 0 {
		t.Errorf("uid = %d, want 0", got)
	}
}

func TestExitCodeIsThatOfTheRunInside(t *testing.T) {
	if os.Getenv("FAIRLEAD_IN_USER_NAMESPACE") != "" {
		return // shown by the run that started this one
	}
	cmd := exec.Command(readable(t), "-test.run", "^TestNoSuchTest$", "-test.badflag")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != 2 {
		t.Errorf("exit code = %d, want 2 as of a bad flag\n%s", got, out)
	}
}

// TestRefusalNamesTheSetting starts itself where namespaces may not be made.
func TestRefusalNamesTheSetting(t *testing.T) {
	if os.Getenv("FAIRLEAD_TEST_REFUSED") != "" {
		for _, kind := range []string{"net", "user"} {
			ok(t, os.WriteFile("/proc/sys/user/max_"+kind+"_namespaces", []byte("0"), 0o644))
		}
		_, ran, err := nstest.Enter()
		fmt.Printf("ran %v: %v\n", ran, err)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestRefusalNamesTheSetting$")
	cmd.Env = append(os.Environ(), "FAIRLEAD_TEST_REFUSED=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	ok(t, err)
	for _, want := range []string{"ran false: creating network namespaces:", "sysctl -w user.max_user_namespaces=15000"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
}

// readable copies this program to where another user may run it.
func readable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nstest")
	ok(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	ok(t, os.Chmod(dir, 0o755))
	program, err := os.ReadFile("/proc/self/exe")
	ok(t, err)
	path := filepath.Join(dir, "program")
	ok(t, os.WriteFile(path, program, 0o755))
	return path
}
