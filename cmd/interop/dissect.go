package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/fairlead/fairlead/nft/nstest"
)

// dissect has tshark look at every packet that fairlead sent: to the client from
// port 53, and to the server behind it.
func (h *house) dissect(r *report) error {
	tshark, err := lookPath("tshark")
	if err != nil {
		fmt.Fprintln(r.out, "tshark is not installed: nobody looked for malformed packets")
		return nil
	}
	for _, link := range []struct {
		name, ours string
		capture    *nstest.Capture
		sums       string // whether the sums of UDP can be right: fairlead's own on the LAN, and not the kernel's, which leaves them to the link
	}{
		{"LAN", "(udp.srcport == 53 || tcp.srcport == 53)", h.lan, "TRUE"},
		{"WAN", fmt.Sprintf("ip.src == %s && (udp.dstport == 53 || tcp.dstport == 53)", h.At.RouterWAN.V4), h.wan, "FALSE"},
	} {
		packets, err := link.capture.Packets()
		if err != nil {
			return err
		}
		file := pcap(packets)
		seen, err := look(tshark, file, link.ours+" && dns")
		if err != nil {
			return err
		}
		bad, err := look(tshark, file, link.ours+" && ("+wrong+")", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:"+link.sums)
		if err != nil {
			return err
		}
		fmt.Fprintf(r.out, "tshark read %d DNS messages that fairlead sent to the %s; %d are not as they should be.\n", len(seen), link.name, len(bad))
		if len(seen) == 0 {
			r.fail("tshark saw nothing on the %s", link.name)
		}
		for _, line := range bad {
			r.fail("on the %s: %s", link.name, line)
		}
	}
	return nil
}

// wrong is tshark's filter for what is not as it should be. It reads beyond the
// end of a stateful operation (opcode 6) that is answered by a header alone, as
// RFC 8490 section 5.4 allows.
const wrong = `!(dns.flags.opcode == 6) && (_ws.malformed || dns && _ws.expert.severity >= "Warning") || ip.checksum.status == "Bad" || udp.checksum.status == "Bad"`

// look gives a line for each packet that a filter of tshark matches.
func look(tshark string, file []byte, filter string, options ...string) ([]string, error) {
	cmd := exec.Command(tshark, append([]string{"-n", "-r", "-", "-Y", filter, "-T", "fields",
		"-e", "frame.number", "-e", "_ws.col.Info", "-e", "_ws.expert.message", "-e", "ip.checksum.status", "-e", "udp.checksum.status"}, options...)...)
	cmd.Stdin = bytes.NewReader(file)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("running tshark: %w: %s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("running tshark: %w", err)
	}
	text := strings.TrimSpace(string(out))
	if text == "" {
		return nil, nil
	}
	return strings.Split(text, "\n"), nil
}

// pcap is a capture file of Ethernet frames
// (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html).
func pcap(packets []nstest.Packet) []byte {
	const (
		magic    = 0xa1b2c3d4
		ethernet = 1
		longest  = 1 << 18
	)
	var b []byte
	put := func(values ...uint32) {
		for _, v := range values {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
	}
	put(magic, 2|4<<16, 0, 0, longest, ethernet)
	for _, p := range packets {
		put(uint32(p.Time.Unix()), uint32(p.Time.Nanosecond()/1000), uint32(len(p.Frame)), uint32(len(p.Frame)))
		b = append(b, p.Frame...)
	}
	return b
}
