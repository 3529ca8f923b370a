// Package ubustest is a small ubusd for tests: it writes the format on its own,
// so that a mistake in package ubus is not made twice.
package ubustest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
)

// Table is a value that holds others by name: strings, bools, ints, Tables and
// Arrays.
type Table []field

// Array is a value that holds others of these kinds in a row.
type Array []any

type field struct {
	name  string
	value any
}

// Of makes a Table of names and values in turn.
func Of(pairs ...any) Table {
	var t Table
	for p := range slices.Chunk(pairs, 2) {
		t = append(t, field{p[0].(string), p[1]})
	}
	return t
}

// Method answers a call. A code that is not 0 is the status of a refusal.
type Method func() (answer Table, code uint32)

// Server is a ubusd and the daemons behind it.
type Server struct {
	path string

	mu      sync.Mutex // guards the fields below
	ln      net.Listener
	running *sync.WaitGroup
	clients map[*client]bool
	objects map[string]*object
	nextID  uint32
	calls   int
}

type object struct {
	id          uint32
	methods     map[string]Method
	subscribers map[*client]bool
}

type client struct {
	net.Conn
	own      uint32 // the object that it gave itself
	patterns []string
}

// Start listens at path.
func Start(path string) (*Server, error) {
	s := &Server{path: path, objects: map[string]*object{}, nextID: 0x51ab0000}
	return s, s.Listen()
}

// Listen begins to serve again after Close.
func (s *Server) Listen() error {
	ln, err := net.Listen("unix", s.path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ln, s.running, s.clients = ln, new(sync.WaitGroup), map[*client]bool{}
	running := s.running
	running.Go(func() { s.accept(ln, running) })
	return nil
}

// Close ends ubusd and its connections. What the objects are stays as it is.
func (s *Server) Close() error {
	s.mu.Lock()
	err := s.ln.Close()
	for c := range s.clients {
		c.Close()
	}
	running := s.running
	s.mu.Unlock()
	running.Wait()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

// Handle adds an object, or changes its methods.
func (s *Server) Handle(path string, methods map[string]Method) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects[path]; o != nil {
		o.methods = methods
		return
	}
	s.nextID++
	s.objects[path] = &object{id: s.nextID, methods: methods, subscribers: map[*client]bool{}}
	s.event("ubus.object.add", Of("id", int(s.nextID), "path", path))
}

// Remove takes an object away, as when its daemon ends.
func (s *Server) Remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[path]
	delete(s.objects, path)
	for c := range o.subscribers {
		c.send(9, 1, 0, number(3, c.own), number(8, o.id))
	}
	s.event("ubus.object.remove", Of("id", int(o.id), "path", path))
}

// Notify tells the subscribers of an object.
func (s *Server) Notify(path, name string, data Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.objects[path].subscribers {
		c.send(5, 1, s.objects[path].id, attr(10, []byte{1}), number(3, c.own), text(4, name), attr(7, data.bytes()))
	}
}

// Send sends an event to those who listen for it.
func (s *Server) Send(name string, data Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.event(name, data)
}

// Subscribers counts who subscribed to an object.
func (s *Server) Subscribers(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects[path]; o != nil {
		return len(o.subscribers)
	}
	return 0
}

// Calls counts the methods called so far.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *Server) event(name string, data Table) {
	for c := range s.clients {
		if slices.ContainsFunc(c.patterns, func(p string) bool {
			begin, open := strings.CutSuffix(p, "*")
			return p == name || open && strings.HasPrefix(name, begin)
		}) {
			c.send(5, 1, 0, number(3, c.own), text(4, name), attr(7, data.bytes()))
		}
	}
}

func (s *Server) accept(ln net.Listener, running *sync.WaitGroup) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		c := &client{Conn: conn}
		s.mu.Lock()
		s.clients[c] = true
		c.send(0, 0, 0x1234)
		s.mu.Unlock()
		running.Go(func() { s.serve(c) })
	}
}

func (s *Server) serve(c *client) {
	defer func() {
		c.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.clients, c)
		for _, o := range s.objects {
			delete(o.subscribers, c)
		}
	}()
	for {
		var head [12]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[8:])-4)
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		attrs, err := split(body)
		if err != nil {
			fmt.Fprintln(os.Stderr, "ubustest:", err)
			return
		}
		s.handle(c, head[1], binary.BigEndian.Uint16(head[2:]), attrs)
	}
}

// handle answers a message: what there is to say, and then a status.
func (s *Server) handle(c *client, kind byte, seq uint16, attrs map[byte][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	code := uint32(0)
	switch kind {
	case 1: // a status: somebody thanks for a notification
		return
	case 4:
		code = s.lookup(c, seq, cString(attrs[2]))
	case 5:
		code = s.invoke(c, seq, attrs)
	case 6:
		s.nextID++
		c.own = s.nextID
		c.send(2, seq, 0, number(3, c.own))
	case 8:
		code = s.subscribe(c, word(attrs[3]), word(attrs[8]))
	default:
		code = 1
	}
	c.send(1, seq, 0, number(1, code))
}

func (s *Server) lookup(c *client, seq uint16, path string) uint32 {
	o := s.objects[path]
	if o == nil {
		return 4
	}
	if len(o.methods) > 0 { // else they are denied: nothing is said
		c.send(2, seq, 0, text(2, path), number(3, o.id), number(5, 7), attr(6, nil))
	}
	return 0
}

func (s *Server) invoke(c *client, seq uint16, attrs map[byte][]byte) uint32 {
	id, method := word(attrs[3]), cString(attrs[4])
	if id == 1 && method == "register" {
		pattern, ok := registered(attrs[7], c.own)
		if !ok {
			return 2
		}
		c.patterns = append(c.patterns, pattern)
		return 0
	}
	for o := range maps.Values(s.objects) {
		if o.id != id {
			continue
		}
		m := o.methods[method]
		if m == nil {
			return 3
		}
		s.calls++
		answer, code := m()
		if code == 0 {
			c.send(2, seq, id, number(3, id), attr(7, answer.bytes()))
		}
		return code
	}
	return 4
}

// registered reads the one table that a client sends: {"object": own, "pattern": …}.
func registered(b []byte, own uint32) (pattern string, ok bool) {
	want := append([]byte{0x85, 0, 0, 20, 0, 6}, "object\x00\x00\x00\x00"...)
	want = binary.BigEndian.AppendUint32(want, own)
	const head = 16 // of the second field, with its name
	if len(b) < len(want)+head || string(b[:len(want)]) != string(want) {
		return "", false
	}
	return cString(b[len(want)+head:]), true
}

func (s *Server) subscribe(c *client, own, target uint32) uint32 {
	if own != c.own {
		return 2
	}
	for o := range maps.Values(s.objects) {
		if o.id == target {
			o.subscribers[c] = true
			return 0
		}
	}
	return 4
}
