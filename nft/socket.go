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

// sendBuffer bounds a transaction, in bytes: some 50,000 prefixes. Without
// privilege in the first user namespace the kernel gives less (net.core.wmem_max).
const sendBuffer = 4 << 20

// wire is a netlink socket to nf_tables. It stays open between transactions:
// the kernel makes whoever closes one wait until all that the last transactions
// deleted is freed, which takes as long as a hundred transactions. Its users
// take turns.
type wire struct {
	netns    int
	conn     *netlink.Conn // nil: not open
	sequence uint32        // of the last message sent
	inbox    [4 << 10]byte // for one datagram
}

// commit has the kernel apply the batch. Only the last message asks for an
// acknowledgement: messages that are refused answer in any case, so one answer
// means that all were taken, and there are never more than the socket can hold.
func (w *wire) commit(b *batch) error {
	if b.err != nil {
		return b.err
	}
	if err := w.open(); err != nil {
		return err
	}
	messages := framed(b.messages, w.sequence)
	before := w.sequence
	w.sequence += uint32(len(messages))
	if _, err := w.conn.SendMessages(messages); err != nil {
		w.close()
		return fmt.Errorf("sending %d bytes to nf_tables: %w", size(messages), err)
	}
	refused, err := w.outcome(b, before)
	if err != nil {
		w.close() // answers may still come
	}
	return errors.Join(refused, err)
}

// open readies the socket for one transaction.
func (w *wire) open() error {
	if w.conn == nil {
		c, err := dial(w.netns)
		if err != nil {
			return err
		}
		w.conn = c
	}
	if err := w.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		w.close()
		return fmt.Errorf("bounding a netlink socket: %w", err)
	}
	return nil
}

func (w *wire) close() error {
	if w.conn == nil {
		return nil
	}
	err := w.conn.Close()
	w.conn = nil
	return err
}

func dial(netns int) (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	// Refusals need not repeat the refused message, which can be larger than the buffer.
	err = errors.Join(c.SetOption(netlink.CapAcknowledge, true), c.SetWriteBuffer(sendBuffer))
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("preparing a netlink socket: %w", err)
	}
	return c, nil
}

// framed puts messages between the begin and the end of a transaction and
// numbers them from the one after the given number on.
func framed(messages []netlink.Message, after uint32) []netlink.Message {
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
		all[i].Header.Sequence = after + uint32(i+1)
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
// speaks for the whole batch. It tells what was refused from what went wrong
// while reading.
func (w *wire) outcome(b *batch, before uint32) (refused, err error) {
	for {
		answers, err := w.receive()
		if err != nil {
			return refused, fmt.Errorf("reading the answer of nf_tables: %w", err)
		}
		for _, a := range answers {
			place := int(int32(a.sequence()-before)) - 2 // in the batch; -1 is its begin
			if place < -1 {
				continue // of a transaction before
			}
			if errno := a.errno(); errno != 0 && refused == nil {
				refused = refusal(b, place, errno)
			}
			if place == -1 || place >= len(b.messages)-1 {
				return refused, nil
			}
		}
	}
}

// refusedError says which message was refused. The kernel's ENOENT often means
// a missing module; Probe tells.
type refusedError struct {
	place int // in the batch; -1 is its begin
	doing string
	errno syscall.Errno
}

func refusal(b *batch, place int, errno syscall.Errno) error {
	e := &refusedError{place, "committing to nf_tables", errno}
	if place >= 0 && place < len(b.doing) {
		e.doing = b.doing[place]
	}
	return e
}

// Error says what was being done, and the kernel's reason.
func (e *refusedError) Error() string { return e.doing + ": " + e.errno.Error() }

// Unwrap gives the errno, which callers tell refusals apart by.
func (e *refusedError) Unwrap() error { return e.errno }

// answer is a message of type NLMSG_ERROR: the errno, then the header of the
// message that it answers (netlink(7)).
type answer []byte

func (a answer) errno() syscall.Errno {
	return syscall.Errno(-int32(binaryutil.NativeEndian.Uint32(a)))
}

func (a answer) sequence() uint32 { return binary.NativeEndian.Uint32(a[4+8:]) }

// receive reads one datagram. The library's own Receive turns an answer into
// an error without the number of the message. What it returns is valid until the
// next time.
func (w *wire) receive() ([]answer, error) {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, _, failed = unix.Recvfrom(int(fd), w.inbox[:], unix.MSG_DONTWAIT)
		return failed != unix.EAGAIN
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	messages, err := syscall.ParseNetlinkMessage(w.inbox[:n])
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
