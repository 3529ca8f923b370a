// Command fairlead is a router's gateway: one policy decides the DNS answers
// and the packets of every device on the LAN.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/openwrt/config"
	"github.com/fairlead/fairlead/openwrt/dnsmasq"
)

// Set by the linker (make build): the version, and when it was made in seconds
// since 1970.
var version, built = "dev", "0"

const defaultConfig = "/etc/config/fairlead"

// command is one of the words that may follow the program's name.
type command struct {
	name, args, does string
	run              func(e env, args []string) int
}

// env is where a command reads from and prints to: results go to out, logs and
// mistakes to err. Dnsmasq is that of this machine.
type env struct {
	in       io.Reader
	out, err io.Writer
	dnsmasq  dnsmasq.System
}

func commands() []command {
	return []command{
		{"run", "[--retry]", "run the gateway in the foreground", runCommand},
		{"check", "", "print every mistake in the configuration, and warnings", checkCommand},
		{"explain", "[--json] --client WHO NAME[:PORT[/udp]]", "say what would happen, and why", explainCommand},
		{"status", "[--json]", "show what the running gateway does", statusCommand},
		{"clients", "[--json]", "list the devices of the LAN, and which section each belongs to", clientsCommand},
		{"reload", "", "make the running gateway read its configuration again", reloadCommand},
		{"doctor", "[--json]", "look for what on this machine will break the gateway", doctorCommand},
		{"leaks", "[--json] [--for 60s]", "watch the WAN, and sort every DNS question that leaves by it", leaksCommand},
		{"support", "", "write a report to send to whoever helps, without what is private", supportCommand},
		{"guard", "", "close or open the LAN as on_failure says, while no gateway runs", guardCommand},
		{"flush", "", "remove what a crashed gateway left in the kernel", flushCommand},
		{"migrate", "", "print what `uci batch` needs to rewrite an older version's file", migrateCommand},
		{"rpcd", "list | call METHOD", "answer OpenWrt's rpcd: arguments and result are JSON", rpcdCommand},
		{"demo", "", "show the gateway at work between namespaces of this machine", demoCommand},
		{"version", "", "print the version", versionCommand},
	}
}

func main() {
	os.Exit(dispatch(env{os.Stdin, os.Stdout, os.Stderr, dnsmasq.OpenWrt()}, os.Args[1:]))
}

func dispatch(e env, args []string) int {
	if len(args) == 0 {
		usage(e.err)
		return 1
	}
	word, rest := args[0], args[1:]
	asked := word == "help" || isHelp(word)
	switch {
	case asked && len(rest) == 0:
		usage(e.out)
		return 0
	case asked: // help COMMAND
		word, rest = rest[0], []string{"-h"}
	}
	var names []string
	for _, c := range commands() {
		if c.name == word {
			if slices.ContainsFunc(rest, isHelp) {
				e.err = e.out // help that was asked for is a result
			}
			return c.run(e, rest)
		}
		names = append(names, c.name)
	}
	if strings.HasPrefix(word, "-") {
		fmt.Fprintf(e.err, "fairlead: %s stands before the command: write the command first, as in `fairlead check -c FILE`\n", word)
		return 1
	}
	fmt.Fprintf(e.err, "fairlead: there is no command %q%s\nfairlead: `fairlead help` lists all commands\n", word, config.Suggest(word, names))
	return 1
}

func isHelp(word string) bool { return slices.Contains([]string{"-h", "-help", "--help"}, word) }

func usage(w io.Writer) {
	fmt.Fprintf(w, "usage: fairlead COMMAND [-c FILE] ...\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.does)
	}
	fmt.Fprintf(w, "\nEvery command takes -c FILE, by default %s.\n`fairlead help COMMAND` says what else it takes.\n", defaultConfig)
}

// flags makes the flag set of a command; -c is common to all.
func flags(e env, name string) (*flag.FlagSet, *string) {
	fs := flag.NewFlagSet("fairlead "+name, flag.ContinueOnError)
	fs.SetOutput(e.err)
	file := fs.String("c", defaultConfig, "configuration `FILE`")
	for _, c := range commands() {
		if c.name == name {
			fs.Usage = func() {
				fmt.Fprintf(e.err, "usage: %s\n  %s\n\n", strings.TrimSpace("fairlead "+name+" [-c FILE] "+c.args), c.does)
				fs.VisitAll(func(f *flag.Flag) { printFlag(e.err, f) })
			}
		}
	}
	return fs, file
}

// printFlag prints a flag as the pages write it: words with two dashes.
func printFlag(w io.Writer, f *flag.Flag) {
	value, does := flag.UnquoteUsage(f)
	dashes := "--"
	if len(f.Name) == 1 {
		dashes = "-"
	}
	if f.DefValue != "" && f.DefValue != "false" {
		does += " (default " + f.DefValue + ")"
	}
	does = strings.ReplaceAll(does, "\n", fmt.Sprintf("\n%17s ", ""))
	fmt.Fprintf(w, "  %-15s %s\n", strings.TrimSpace(dashes+f.Name+" "+value), does)
}

// parsed tells a command whether to go on; if not, code is its exit code.
func parsed(fs *flag.FlagSet, args []string, positional int) (code int, ok bool) {
	return parsedUpTo(fs, args, positional, positional)
}

// parsedUpTo is parsed for commands that take a number of words. Options may
// stand behind words.
func parsedUpTo(fs *flag.FlagSet, args []string, least, most int) (code int, ok bool) {
	words := []string{"--"} // ends the options
	for more := true; more; more = fs.NArg() > 0 {
		switch err := fs.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			return 0, false
		case err != nil:
			return 1, false
		case fs.NArg() > 0:
			words, args = append(words, fs.Arg(0)), fs.Args()[1:]
		}
	}
	_ = fs.Parse(words)
	if fs.NArg() < least || fs.NArg() > most {
		fmt.Fprintf(fs.Output(), "%s: %s\n", fs.Name(), miscounted(fs.Args(), least, most))
		fs.Usage()
		return 1, false
	}
	return 0, true
}

// miscounted says what is wrong with the words behind a command.
func miscounted(words []string, least, most int) string {
	if len(words) < least {
		return "a word is missing"
	}
	return fmt.Sprintf("%q is a word too much", words[most])
}

// fail prints why a command failed and gives its exit code.
func (e env) fail(err error) int {
	fmt.Fprintf(e.err, "fairlead: %v\n", err)
	return 1
}

func versionCommand(e env, args []string) int {
	fs, _ := flags(e, "version")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	fmt.Fprintf(e.out, "fairlead %s\n", version)
	return 0
}
