package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"
)

// service is what `ubus call service set` says.
type service struct {
	Name      string                     `json:"name"`
	Instances map[string]settings        `json:"instances"`
	Triggers  []trigger                  `json:"triggers"`
	Data      map[string]json.RawMessage `json:"data"`

	name    string
	running map[string]*instance
}

// trigger runs a program when a configuration changed.
type trigger struct {
	Event   string   `json:"event"` // config.change
	Package string   `json:"package"`
	Run     []string `json:"run"`
}

var (
	errArgument = errors.New("Invalid argument")
	errNotFound = errors.New("Not found")
)

// handle is a method of the object service.
func (m *manager) handle(method string, data json.RawMessage) (json.RawMessage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch method {
	case "set":
		return nil, m.set(data)
	case "list":
		return m.list(data)
	case "delete":
		return nil, m.remove(data)
	case "signal":
		return nil, m.signal(data)
	case "event":
		var e struct {
			Type string
			Data struct{ Package string }
		}
		if err := json.Unmarshal(data, &e); err != nil {
			return nil, errArgument
		}
		m.event(e.Type, e.Data.Package)
		return nil, nil
	case "get_data":
		return m.data(data)
	}
	return nil, errors.New("Method not found")
}

// set makes a service what it shall be: what is missing ends, what is new
// starts, what is unchanged goes on.
func (m *manager) set(data json.RawMessage) error {
	var next service
	if err := strict(data, &next); err != nil || next.Name == "" {
		return fmt.Errorf("%w: %v", errArgument, err)
	}
	s := m.services[next.Name]
	if s == nil {
		s = &service{name: next.Name, running: map[string]*instance{}}
		m.services[next.Name] = s
	}
	s.Triggers, s.Data = next.Triggers, next.Data
	for _, in := range s.running {
		if _, wanted := next.Instances[in.name]; !wanted {
			m.stop(in)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(next.Instances)) {
		settings := next.Instances[name].read()
		if in := s.running[name]; in != nil {
			m.update(in, settings)
			continue
		}
		in := &instance{name: name, service: s, settings: settings}
		s.running[name] = in
		m.start(in)
	}
	return nil
}

func (m *manager) named(data json.RawMessage) (s *service, in string, sig int, err error) {
	var q struct {
		Name, Instance string
		Signal         int
	}
	if err := json.Unmarshal(data, &q); err != nil {
		return nil, "", 0, errArgument
	}
	if s = m.services[q.Name]; s == nil {
		return nil, "", 0, errNotFound
	}
	return s, q.Instance, q.Signal, nil
}

func (m *manager) list(data json.RawMessage) (json.RawMessage, error) {
	type shown struct {
		Running bool              `json:"running"`
		Pid     int               `json:"pid,omitempty"`
		Command []string          `json:"command"`
		Env     map[string]string `json:"env,omitempty"`
		User    string            `json:"user,omitempty"`
	}
	all := map[string]map[string]map[string]shown{}
	for _, s := range m.services {
		if only, _, _, _ := m.named(data); only != nil && only != s {
			continue
		}
		instances := map[string]shown{}
		for _, in := range s.running {
			v := shown{Command: in.Command, Env: in.Env, User: in.User}
			if in.process != nil {
				v.Running, v.Pid = true, in.process.Pid
			}
			instances[in.name] = v
		}
		all[s.name] = map[string]map[string]shown{}
		if len(instances) > 0 {
			all[s.name]["instances"] = instances
		}
	}
	var q struct{ Name string }
	if json.Unmarshal(data, &q); q.Name != "" && m.services[q.Name] == nil {
		clear(all)
	}
	return json.Marshal(all)
}

// remove ends a service, and its triggers and data with it.
func (m *manager) remove(data json.RawMessage) error {
	s, _, _, err := m.named(data)
	if err != nil {
		return err
	}
	s.Triggers, s.Data = nil, nil
	for _, in := range s.running {
		m.stop(in)
	}
	if len(s.running) == 0 {
		delete(m.services, s.name)
	}
	return nil
}

func (m *manager) signal(data json.RawMessage) error {
	s, name, sig, err := m.named(data)
	if err != nil {
		return err
	}
	in := s.running[name]
	if in == nil || in.process == nil {
		return errNotFound
	}
	return in.process.Signal(syscall.Signal(sig))
}

// data gives what services say under a name: that of the service, as fw4 reads it.
func (m *manager) data(data json.RawMessage) (json.RawMessage, error) {
	var q struct{ Type string }
	if err := json.Unmarshal(data, &q); err != nil {
		return nil, errArgument
	}
	all := map[string]map[string]json.RawMessage{}
	for _, s := range m.services {
		if d, ok := s.Data[q.Type]; ok {
			all[s.name] = map[string]json.RawMessage{q.Type: d}
		}
	}
	return json.Marshal(all)
}
