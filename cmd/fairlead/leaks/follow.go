package leaks

import (
	"errors"
	"net"
	"slices"
)

// maxPorts bounds the filter, whose conditions can jump 255 instructions.
const maxPorts = 100

// follow captures on the devices that lead to the internet now, and on no others.
// The error is that of a device that cannot be captured on.
func (m *Monitor) follow() error {
	names, err := m.cfg.Devices()
	if err != nil {
		return err
	}
	m.aim()
	wanted := map[int]string{}
	for _, name := range names {
		if link, err := net.InterfaceByName(name); err == nil {
			wanted[link.Index] = name
		}
	}
	m.captures = slices.DeleteFunc(m.captures, func(c *capture) bool {
		_, stays := wanted[c.index]
		delete(wanted, c.index)
		if !stays {
			c.close()
		}
		return !stays
	})
	var errs []error
	for _, name := range wanted {
		c, err := openCapture(name, m.program)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.captures = append(m.captures, c)
	}
	var devices []string
	for _, c := range m.captures {
		devices = append(devices, c.device)
	}
	slices.Sort(devices)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Devices = devices
	return errors.Join(errs...)
}

// aim makes the filter that of the rules. If it changes, the captures begin anew.
func (m *Monitor) aim() {
	var ports []uint16
	for _, server := range m.judge.rules.Plain[:min(len(m.judge.rules.Plain), maxPorts)] {
		ports = append(ports, server.Port())
	}
	if m.program != nil && slices.Equal(ports, m.ports) {
		return
	}
	m.closeAll()
	m.program, m.ports = filter(ports), ports
}

func (m *Monitor) closeAll() {
	for _, c := range m.captures {
		c.close()
	}
	m.captures = nil
}
