package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/nft/nstest"
)

// ethtoolValue is struct ethtool_value (linux/ethtool.h).
type ethtoolValue struct{ cmd, data uint32 }

// ifreqData is struct ifreq with a pointer in its union (netdevice(7)).
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// dropOffloads switches segmentation and its reverse off for devices of a
// namespace, as ethtool -K does. A router's ports have none or little of them,
// so a packet there is never longer than the MTU.
func dropOffloads(ns *nstest.NS, devices ...string) error {
	return ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, device := range devices {
			for _, cmd := range []uint32{unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_SGRO} {
				if err := ethtool(fd, device, ethtoolValue{cmd: cmd}); err != nil {
					return fmt.Errorf("switching offload %#x of %s in %s off: %w", cmd, device, ns.Name(), err)
				}
			}
		}
		return nil
	})
}

func ethtool(fd int, device string, value ethtoolValue) error {
	request := ifreqData{data: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
