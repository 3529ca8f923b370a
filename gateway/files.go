package gateway

import "golang.org/x/sys/unix"

const (
	// reservedFiles are the descriptors that flows leave for all else: answers
	// to questions need sockets, and putting back routes and the table needs
	// netlink. Of a few descriptors half is left.
	reservedFiles = 256
	// filesOfTCP and filesOfUDP are what a flow takes: two ends and, of the few
	// that move much at the same time, pipes; a SOCKS5 association is a
	// connection and a socket.
	filesOfTCP = 3
	filesOfUDP = 2
	// leastUDP is so many that each client's quarter is one flow.
	leastUDP = 4
)

// within lowers the limits to what so many descriptors allow. TCP has three
// quarters of those that are not reserved.
func (l Limits) within(files int) Limits {
	rest := files - min(reservedFiles, files/2)
	l.TCP = min(l.TCP, rest*3/4/filesOfTCP)
	l.UDP = min(l.UDP, max(rest/4/filesOfUDP, leastUDP))
	return l
}

// allowedFiles are the descriptors that this process may have. Go has raised
// the soft limit to the hard one.
func allowedFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return reservedFiles // what every system allows
	}
	return int(min(limit.Cur, 1<<30)) // some have no limit
}
