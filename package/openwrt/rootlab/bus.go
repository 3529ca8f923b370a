package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// busPath is where the stand-in of procd listens. It is not ubusd's socket: the
// protocol is another, one JSON object on a line each way.
const busPath = "/var/run/rootlab.sock"

// maxMessage bounds a line on the bus.
const maxMessage = 1 << 20

// request asks for a method of the object service, for its notifications, for a
// reload of the network, or,
// which only tests do, for a program to be run in the router.
type request struct {
	Method string          `json:"method,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"`
	Exec   []string        `json:"exec,omitempty"`
	Env    []string        `json:"env,omitempty"`
}

// reply is what a request gets.
type reply struct {
	Error  string          `json:"error,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"`
	Output string          `json:"output,omitempty"` // of Exec: standard output and error
	Code   int             `json:"code"`             // of Exec
}

// call asks once.
func call(path string, r request) (reply, error) {
	c, err := net.Dial("unix", path)
	if err != nil {
		return reply{}, err
	}
	defer c.Close()
	if err := json.NewEncoder(c).Encode(r); err != nil {
		return reply{}, err
	}
	var a reply
	if err := json.NewDecoder(bufio.NewReaderSize(c, maxMessage)).Decode(&a); err != nil {
		return reply{}, fmt.Errorf("reading the answer: %w", err)
	}
	return a, nil
}

// ubusCommand is the program ubus: `call service METHOD [JSON]`,
// `call network reload` and `subscribe service`.
func ubusCommand(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "call" && args[1] == "network" && args[2] == "reload":
		_, err := call(busPath, request{Method: "network.reload"})
		return err
	case len(args) >= 3 && args[0] == "call" && args[1] == "service":
		data := "{}"
		if len(args) > 3 {
			data = args[3]
		}
		if !json.Valid([]byte(data)) {
			return fmt.Errorf("this is no JSON: %s", data)
		}
		a, err := call(busPath, request{Method: args[2], Data: json.RawMessage(data)})
		if err != nil {
			return err
		}
		if a.Error != "" {
			return errors.New("Command failed: " + a.Error)
		}
		if len(a.Data) > 0 {
			fmt.Println(string(a.Data))
		}
		return nil
	case len(args) == 2 && args[0] == "subscribe" && args[1] == "service":
		return subscribe(os.Stdout)
	}
	return fmt.Errorf("this stand-in knows no ubus %q", args)
}

// subscribe prints notifications as `ubus subscribe` does, until procd ends.
func subscribe(w io.Writer) error {
	c, err := net.Dial("unix", busPath)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := json.NewEncoder(c).Encode(request{Method: "subscribe"}); err != nil {
		return err
	}
	_, err = io.Copy(w, c)
	return err
}
