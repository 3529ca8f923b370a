package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxArguments bounds what a caller may say, in bytes.
const maxArguments = 16 << 10

// arguments are those of every method; each takes its own of them.
type arguments struct {
	Client string `json:"client"`
	Name   string `json:"name"`
}

// method is what can be called as `ubus call fairlead METHOD`. Its answer is a
// JSON object, the same as that of the command of its name with --json.
type method struct {
	name  string
	takes []string // names of arguments, all of them strings
	call  func(file string, args arguments) (any, error)
}

func methods() []method {
	return []method{
		{"status", nil, func(file string, _ arguments) (any, error) { return statusOf(file) }},
		{"clients", nil, func(file string, _ arguments) (any, error) { return clientsOf(file) }},
		{"explain", []string{"client", "name"}, func(file string, a arguments) (any, error) { return explain(file, a.Client, a.Name) }},
		{"doctor", nil, func(file string, _ arguments) (any, error) { return examine(file) }},
		{"leaks", nil, func(file string, _ arguments) (any, error) { return leaksOf(file) }},
		{"reload", nil, func(file string, _ arguments) (any, error) {
			return map[string]bool{"reloaded": true}, ask(file, "reload", nil)
		}},
	}
}

// rpcdCommand is a plugin of OpenWrt's rpcd, which runs it as `list` when it
// starts, and as `call METHOD` for each call. rpcd takes the first JSON object on
// standard output for the answer, whatever the exit code, and passes standard
// error by; after 120 seconds it ends the call (rpcd, plugin.c and exec.c).
func rpcdCommand(e env, args []string) int {
	fs, file := flags(e, "rpcd")
	if code, ok := parsedUpTo(fs, args, 1, 2); !ok {
		return code
	}
	switch {
	case fs.Arg(0) == "list" && fs.NArg() == 1:
		return e.printJSON(signatures())
	case fs.Arg(0) == "call" && fs.NArg() == 2:
		return e.call(*file, fs.Arg(1))
	}
	fs.Usage()
	return 1
}

// signatures are the arguments of each method, as rpcd wants them: an example of
// each argument's type.
func signatures() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, m := range methods() {
		all[m.name] = map[string]string{}
		for _, argument := range m.takes {
			all[m.name][argument] = ""
		}
	}
	return all
}

// call answers one call. An error is an answer, too: rpcd knows no other way to
// pass on what was wrong.
func (e env) call(file, name string) int {
	result, err := callMethod(file, name, e.in)
	if err != nil {
		e.printJSON(map[string]string{"error": err.Error()})
		return 1
	}
	return e.printJSON(result)
}

func callMethod(file, name string, in io.Reader) (any, error) {
	var names []string
	for _, m := range methods() {
		if m.name == name {
			args, err := readArguments(in)
			if err != nil {
				return nil, err
			}
			return m.call(file, args)
		}
		names = append(names, m.name)
	}
	return nil, fmt.Errorf("there is no method %q; there are %s", name, strings.Join(names, ", "))
}

// readArguments reads one JSON object; nothing at all is an empty one. What no
// method takes is passed over: uhttpd adds ubus_rpc_session to what a browser says.
func readArguments(in io.Reader) (arguments, error) {
	var args arguments
	err := json.NewDecoder(io.LimitReader(in, maxArguments)).Decode(&args)
	if err != nil && !errors.Is(err, io.EOF) {
		return arguments{}, fmt.Errorf("reading the arguments: they have to be one JSON object of at most %d bytes: %w", maxArguments, err)
	}
	return args, nil
}
