package device

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// answerTime bounds each question to the kernel, which answers at once.
	answerTime = 2 // seconds
	// receiveSize holds whatever the kernel sends at a time (netlink(7)).
	receiveSize = 32 << 10
)

// ask sends one request of rtnetlink(7) and gives the data of the answers.
func ask(kind, flags uint16, data []byte) ([][]byte, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: answerTime}); err != nil {
		return nil, fmt.Errorf("bounding a netlink socket: %w", err)
	}
	request := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(data))
	binary.NativeEndian.PutUint32(request, uint32(cap(request)))
	binary.NativeEndian.PutUint16(request[4:], kind)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|flags)
	if err := unix.Sendto(fd, append(request, data...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	return collect(fd, flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP)
}

// collect receives answers: one, or those of a dump up to its end.
func collect(fd int, dump bool) (answers [][]byte, err error) {
	buf := make([]byte, receiveSize)
	for {
		messages, err := receive(fd, buf)
		if err != nil {
			return answers, err
		}
		for _, m := range messages {
			switch {
			case m.Header.Flags&unix.NLM_F_DUMP_INTR != 0:
				return nil, errors.New("a change interrupted the kernel's answer")
			case m.Header.Type == unix.NLMSG_DONE:
				return answers, nil
			case m.Header.Type == unix.NLMSG_ERROR:
				return answers, errno(m.Data)
			}
			answers = append(answers, append([]byte(nil), m.Data...))
			if !dump {
				return answers, nil
			}
		}
	}
}

// receive gives the messages that come next. Anybody may send to a netlink socket:
// only the kernel is heard.
func receive(fd int, buf []byte) ([]syscall.NetlinkMessage, error) {
	n, from, err := unix.Recvfrom(fd, buf, 0)
	for errors.Is(err, unix.EINTR) {
		n, from, err = unix.Recvfrom(fd, buf, 0)
	}
	if err != nil {
		return nil, err
	}
	if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
		return nil, nil
	}
	return syscall.ParseNetlinkMessage(buf[:n])
}

// errno is the error that a message tells of; zero is the answer to a change that
// was made.
func errno(data []byte) error {
	if len(data) < 4 {
		return errors.New("the kernel's answer is cut short")
	}
	if n := int32(binary.NativeEndian.Uint32(data)); n != 0 {
		return unix.Errno(-n)
	}
	return nil
}

// subscription hears of every change of the neighbour table. The kernel drops
// events when nobody receives in time, and the next call says so.
type subscription struct {
	file *os.File
	buf  []byte
}

func subscribe() (*subscription, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	s := &subscription{os.NewFile(uintptr(fd), "neighbours"), make([]byte, receiveSize)}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.RTNLGRP_NEIGH - 1)}))
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends a Receive that waits, too.
func (s *subscription) Close() { s.file.Close() }

// Receive waits for the next events.
func (s *subscription) Receive() ([]entry, error) {
	conn, err := s.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var messages []syscall.NetlinkMessage
	errWait := conn.Read(func(fd uintptr) bool {
		messages, err = receive(int(fd), s.buf)
		return !errors.Is(err, unix.EAGAIN)
	})
	if err := errors.Join(errWait, err); err != nil {
		return nil, err
	}
	var all []entry
	for _, m := range messages {
		if e, ok := parse(m.Header.Type, m.Data); ok {
			e.mac = append([]byte(nil), e.mac...)
			all = append(all, e)
		}
	}
	return all, nil
}
