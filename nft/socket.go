package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// patience bounds a transaction. A kernel without nf_tables may never answer.
const patience = 10 * time.Second

// sendBuffer is what a large ruleset needs; without privilege in the first user
// namespace the kernel gives less (net.core.wmem_max).
const sendBuffer = 4 << 20

// commit has the kernel apply the batch. Only the last message asks for an
// acknowledgement: messages that are refused answer in any case, so one answer
// means that all were taken, and there are never more than the socket can hold.
func commit(netns int, b *batch) error {
	if b.err != nil {
		return b.err
	}
	c, err := dial(netns)
	if err != nil {
		return err
	}
	defer c.Close()

	messages := framed(b.messages)
	if size(messages) > 100<<10 {
		if err := c.SetWriteBuffer(sendBuffer); err != nil {
			return fmt.Errorf("enlarging the netlink socket: %w", err)
		}
	}
	if _, err := c.SendMessages(messages); err != nil {
		return fmt.Errorf("sending %d bytes to nf_tables: %w", size(messages), err)
	}
	return outcome(c, b)
}

func dial(netns int) (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	// Refusals need not repeat the refused message, which can be larger than the buffer.
	err = errors.Join(c.SetOption(netlink.CapAcknowledge, true), c.SetDeadline(time.Now().Add(patience)))
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("preparing a netlink socket: %w", err)
	}
	return c, nil
}

// framed puts messages between the begin and the end of a transaction and
// numbers them: the begin is 1, the first message is 2.
func framed(messages []netlink.Message) []netlink.Message {
	frame := func(kind netlink.HeaderType) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request},
			Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}, // struct nfgenmsg, res_id is big endian
		}
	}
	all := make([]netlink.Message, 0, len(messages)+2)
	all = append(all, frame(unix.NFNL_MSG_BATCH_BEGIN))
	all = append(all, messages...)
	all = append(all, frame(unix.NFNL_MSG_BATCH_END))
	for i := range all {
		all[i].Header.Sequence = uint32(i + 1)
	}
	all[len(messages)].Header.Flags |= netlink.Acknowledge
	return all
}

func size(messages []netlink.Message) int {
	n := 0
	for _, m := range messages {
		n += unix.SizeofNlMsghdr + (len(m.Data)+3)&^3
	}
	return n
}

// outcome reads the answers up to that of the last message, or to one that
// speaks for the whole batch.
func outcome(c *netlink.Conn, b *batch) error {
	last := uint32(len(b.messages) + 1)
	var first error
	for {
		answers, err := receive(c)
		if err != nil {
			return errors.Join(first, fmt.Errorf("reading the answer of nf_tables: %w", err))
		}
		for _, a := range answers {
			if errno := a.errno(); errno != 0 && first == nil {
				first = refusal(b, a.sequence(), errno)
			}
			if s := a.sequence(); s >= last || s <= 1 {
				return first
			}
		}
	}
}

// refusal says which message was refused. The kernel's ENOENT often means a
// missing module; Probe tells.
func refusal(b *batch, sequence uint32, errno syscall.Errno) error {
	i := int(sequence) - 2
	if i < 0 || i >= len(b.doing) {
		return fmt.Errorf("committing to nf_tables: %w", errno)
	}
	return fmt.Errorf("%s: %w", b.doing[i], errno)
}

// answer is a message of type NLMSG_ERROR: the errno, then the header of the
// message that it answers (netlink(7)).
type answer []byte

func (a answer) errno() syscall.Errno {
	return syscall.Errno(-int32(binaryutil.NativeEndian.Uint32(a)))
}

func (a answer) sequence() uint32 { return binary.NativeEndian.Uint32(a[4+8:]) }

// receive reads one datagram. The library's own Receive turns an answer into
// an error without the number of the message.
func receive(c *netlink.Conn) ([]answer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 4<<10)
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, _, failed = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
		return failed != unix.EAGAIN
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	messages, err := syscall.ParseNetlinkMessage(buf[:n])
	if err != nil {
		return nil, err
	}
	var answers []answer
	for _, m := range messages {
		if m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4+unix.SizeofNlMsghdr {
			answers = append(answers, answer(m.Data))
		}
	}
	return answers, nil
}
