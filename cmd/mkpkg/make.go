package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/fairlead/fairlead/package/apk"
	"github.com/fairlead/fairlead/package/ipk"
	"github.com/fairlead/fairlead/package/payload"
)

// makeIPK makes a package of each variant for some architectures, as many at a
// time as there are processors: compressing takes one.
func makeIPK(out io.Writer, arches []string) error {
	type made struct {
		list bytes.Buffer
		err  error
	}
	var all []chan *made
	turns := make(chan struct{}, runtime.NumCPU())
	err := eachBuild(arches, func(p payload.Package, b build) error {
		done := make(chan *made, 1)
		all = append(all, done)
		turns <- struct{}{}
		go func() {
			var m made
			m.err = packIPK(&m.list, p, b.arches)
			done <- &m
			<-turns
		}()
		return nil
	})
	for _, done := range all {
		m := <-done
		m.list.WriteTo(out)
		err = errors.Join(err, m.err)
	}
	return err
}

// packIPK makes a package for each of the architectures that one build serves.
func packIPK(out io.Writer, p payload.Package, arches []string) error {
	data, err := ipk.Pack(p)
	if err != nil {
		return err
	}
	for _, arch := range arches {
		p.Arch = arch
		if err := writeIPK(out, p, data); err != nil {
			return err
		}
	}
	return nil
}

func writeIPK(out io.Writer, p payload.Package, data ipk.Data) error {
	var b bytes.Buffer
	if err := ipk.Write(&b, p, data); err != nil {
		return err
	}
	name := ipkFile(p)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	fmt.Fprintf(out, "%-64s %9d bytes\n", name, b.Len())
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// ipkFile is where a package for opkg lies after `make ipk`.
func ipkFile(p payload.Package) string { return filepath.Join(binaries, "ipk", ipk.Name(p)) }

// makeAPK stages a package of each variant for some architectures, and makes it
// where the program apk is there.
func makeAPK(out io.Writer, arches []string) error {
	program, _ := exec.LookPath("apk")
	err := eachBuild(arches, func(p payload.Package, b build) error {
		tree := filepath.Join(binaries, "apk", b.name, p.Name)
		if err := apk.Stage(tree, p); err != nil {
			return err
		}
		for _, arch := range b.arches {
			p.Arch = arch
			if err := packAPK(out, tree, p, program != ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && program == "" {
		fmt.Fprintln(out, "No package was made, because the program apk (apk-tools 3) is not here. Each line above makes one where it is,")
		fmt.Fprintln(out, "in this directory, as root or below fakeroot. OpenWrt's SDK has it as staging_dir/host/bin/apk.")
	}
	return err
}

// packAPK makes a package of a staged tree, or says how.
func packAPK(out io.Writer, tree string, p payload.Package, have bool) error {
	output := filepath.Join(binaries, "apk", p.Arch, apk.Name(p))
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return err
	}
	if err := p.Check(); err != nil {
		return err
	}
	args := apk.Command(tree, output, p)
	if !have {
		_, err := fmt.Fprintf(out, "SOURCE_DATE_EPOCH=%d %s\n\n", p.Built.Unix(), quote(args))
		return err
	}
	if os.Geteuid() != 0 {
		args = append([]string{"fakeroot"}, args...)
	}
	run := exec.Command(args[0], args[1:]...)
	run.Stdout, run.Stderr = out, os.Stderr
	run.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", p.Built.Unix()))
	if err := run.Run(); err != nil {
		return fmt.Errorf("running %s: %w", quote(args), err)
	}
	fmt.Fprintln(out, output)
	return nil
}

// eachBuild puts every variant together for the builds that serve some
// architectures.
func eachBuild(arches []string, do func(payload.Package, build) error) error {
	all, err := chosen(arches)
	if err != nil {
		return err
	}
	f, err := readFeed(filepath.Join(feedDir, "Makefile"))
	if err != nil {
		return err
	}
	for _, b := range all {
		for _, v := range variants() {
			p, err := assemble(v, b, f)
			if err != nil {
				return err
			}
			if err := do(p, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// quote writes a command as a shell reads it.
func quote(args []string) string {
	var words []string
	for _, a := range args {
		if a == "" || strings.Trim(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=+") != "" {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}
