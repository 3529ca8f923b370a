package support

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxLog is how many of the last lines of the log are shown.
const maxLog = 200

// Log picks what fairlead itself said out of a system's log. Of each line only the
// message, which never holds a name, and what is listed here is kept: names of
// sites and devices stand in other attributes.
func Log(text string) []string {
	number := regexp.MustCompile(`^-?\d+(\.\d+)?(µs|ms|s|m)?$`)
	var kept []string
	for line := range strings.Lines(text) {
		if line = ofFairlead(strings.TrimRight(line, "\r\n"), number); line != "" {
			kept = append(kept, line)
		}
	}
	return kept[max(0, len(kept)-maxLog):]
}

// ofFairlead is what may be shown of a line; empty if nothing.
func ofFairlead(line string, number *regexp.Regexp) string {
	if at := strings.Index(line, "Instance fairlead::"); at >= 0 && strings.Contains(line[:at], "procd: ") {
		return "procd: " + line[at:]
	}
	_, said, ours := strings.Cut(line, " fairlead[")
	_, said, whole := strings.Cut(said, "]: ")
	switch {
	case !ours || !whole:
		return ""
	case strings.HasPrefix(said, "time="):
		return record(said, number)
	case isTrace(said):
		return said
	}
	return ""
}

// record is a line of log/slog with the attributes that may be shown.
func record(said string, number *regexp.Regexp) string {
	var kept []string
	for said != "" {
		key, value, rest := attribute(said)
		said = rest
		switch {
		case key == "msg" && strings.Contains(value, "/"):
			return "" // the configuration's own warnings, which are shown elsewhere
		case key == "err":
			value = cause(value)
		case !slices.Contains(shownKeys(), key) && !number.MatchString(value):
			continue
		}
		kept = append(kept, key+"="+value)
	}
	return strings.Join(kept, " ")
}

// shownKeys are attributes that tell nothing about a household.
func shownKeys() []string {
	return []string{"time", "level", "msg", "code", "version", "devices", "removed_by", "fingerprint", "network", "outbound", "upstream", "sysctls"}
}

// attribute takes the first key and value of a record.
func attribute(said string) (key, value, rest string) {
	key, rest, _ = strings.Cut(said, "=")
	if quoted, err := strconv.QuotedPrefix(rest); err == nil {
		value, _ = strconv.Unquote(quoted)
		return key, strings.ReplaceAll(value, "\n", " "), strings.TrimPrefix(rest[len(quoted):], " ")
	}
	value, rest, _ = strings.Cut(rest, " ")
	return key, value, rest
}

// cause is the end of an error, if it is one of those that hold no name.
func cause(err string) string {
	for _, known := range []string{
		"connection refused", "connection reset by peer", "broken pipe", "no route to host", "network is unreachable", "host is unreachable",
		"i/o timeout", "context deadline exceeded", "deadline exceeded", "context canceled", "EOF", "operation not permitted", "permission denied",
		"no such file or directory", "file exists", "no space left on device", "read-only file system", "cannot allocate memory",
		"too many open files", "invalid argument", "operation not supported", "no such device", "no buffer space available",
		"address already in use", "certificate has expired or is not yet valid", "certificate signed by unknown authority",
	} {
		if strings.HasSuffix(err, known) {
			return "…" + known
		}
	}
	return "[removed]"
}

// isTrace tells a line of a panic's trace: where, and in which function.
func isTrace(said string) bool {
	return regexp.MustCompile(`^(panic: runtime error: [a-z ,\[\]0-9:]+|fatal error: [a-z ]+|goroutine \d+ \[[a-z ,0-9]+\]:|[\w./()*\[\]]+\((0x[0-9a-f]+|[{}, .?…])*\)|\s*/?[\w./@+!-]+\.(go|s):\d+( \+0x[0-9a-f]+)?)$`).MatchString(said)
}
