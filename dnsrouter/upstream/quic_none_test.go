//go:build !quic || tiny

package upstream

import (
	"net/netip"
	"testing"
)

func overQUIC(*testing.T, func(*testing.T, string, netip.AddrPort, *authority, *record)) {}
