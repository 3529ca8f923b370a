package config

// sectionType is one type of section and all the options it takes. The reader,
// the suggestions for typing errors and docs/configuration.md share this table.
type sectionType struct {
	name    string
	options []option
}

// option is one option of a section type.
type option struct {
	name     string
	list     bool     // every value counts
	values   string   // what a value is, in words, unless choices or a range say so
	choices  []string // the only values
	min, max int      // of a number; max 0: not a number
	def      string   // default; empty: none, or the one that defElse names
	defElse  string   // in words: what holds instead where the default is no constant
}

const booleans = "boolean"

func text(name, values, def string) option { return option{name: name, values: values, def: def} }

func flag(name, def string) option { return option{name: name, values: booleans, def: def} }

func list(name, values string) option { return option{name: name, list: true, values: values} }

func number(name string, least, most int, def string) option {
	return option{name: name, min: least, max: most, def: def}
}

func choice(name, def string, choices ...string) option {
	return option{name: name, choices: choices, def: def}
}

// otherwise says where the default comes from if it is no constant.
func (o option) otherwise(words string) option {
	o.defElse = words
	return o
}

// each makes a list of an option.
func (o option) each() option {
	o.list = true
	return o
}

// Bounds of numbers that no standard gives.
const (
	leastCache = 64 << 10 // below this, a cache evicts within one page view
	mostCache  = 1 << 30  // fits an int of 32 bits
	mostStale  = 30 * 24 * 3600
	leastFetch = 60
	mostFetch  = 365 * 24 * 3600
)

// schema is every section type with its options: DESIGN section 4.
func schema() []sectionType {
	return []sectionType{
		{"fairlead", common("0",
			list("network", "OpenWrt network"),
			list("device", "Linux interface"),
			text("default", "outbound", "direct"),
			choice("on_failure", "open", "open", "closed"),
			flag("ipv6", "1"),
			flag("router", "0"),
			flag("sniff", "1"),
			choice("reload", "keep", "keep", "strict"),
			choice("log_level", "info", "debug", "info", "warn", "error"),
			text("state_dir", "path", "/var/run/fairlead"),
			text("cache_dir", "path", "").otherwise("`state_dir`"),
			text("control", "path", "/var/run/fairlead/control.sock"),
			choice("dnsmasq", "keep", "keep", "replace"),
			flag("leak_monitor", "0"),
		)},
		{"dns", common("1",
			choice("mode", "fakeip", "fakeip", "realip"),
			text("fakeip_range", "IPv4 prefix, /8 to /28", "198.18.0.0/15"),
			text("fakeip6_range", "IPv6 prefix, /32 to /120", "2001:2::/64"),
			number("fakeip_ttl", 1, 3600, "1"),
			list("realip", "name pattern"),
			flag("essentials", "1"),
			list("essential", "name pattern"),
			text("local_upstream", "upstream", "auto"),
			text("remote_upstream", "upstream", ""),
			choice("reject_answer", "nxdomain", "nxdomain", "nodata", "zero"),
			number("cache_bytes", leastCache, mostCache, "2097152"),
			number("serve_stale", 0, mostStale, "86400"),
			flag("rebind_protection", "1"),
			list("rebind_domain", "name pattern"),
			flag("block_dot", "1"),
			flag("block_doh", "0"),
			flag("canaries", "1"),
			text("local_domain", "domain, or `.` for none", "lan"),
		)},
		{"upstream", common("1",
			list("server", "server"),
			text("outbound", "outbound", "direct"),
			list("bootstrap", "address or address:port"),
		)},
		{"outbound", common("1",
			choice("type", "", "interface", "socks5"),
			text("server", "address or name", ""),
			number("port", 1, 65535, ""),
			text("username", "1 to 255 bytes", ""),
			text("password", "1 to 255 bytes", ""),
			list("bootstrap", "address or address:port").otherwise("servers of `dns.local_upstream`"),
			text("upstream", "upstream", "").otherwise("`dns.remote_upstream`"),
			text("device", "Linux interface", ""),
			text("gateway", "address", ""),
			flag("masq", "1"),
			list("member", "outbound"),
		)},
		{"client", common("1",
			list("mac", "MAC address"),
			list("ip", "address or prefix"),
			list("hostname", "host name"),
			list("network", "OpenWrt network"),
			list("device", "Linux interface"),
			choice("mode", "", "fakeip", "realip", "off").otherwise("`dns.mode`"),
			text("outbound", "outbound", "").otherwise("`main.default`"),
			flag("block_dot", "").otherwise("`dns.block_dot`"),
			flag("block_doh", "").otherwise("`dns.block_doh`"),
		)},
		{"ruleset", common("1",
			text("path", "path", ""),
			text("url", "http or https URL", ""),
			text("outbound", "outbound", "direct"),
			number("interval", leastFetch, mostFetch, "86400"),
			text("category", "name", ""),
		)},
		{"rule", common("1",
			list("client", "client section"),
			list("domain", "name pattern"),
			list("ruleset", "ruleset"),
			list("ip", "address or prefix"),
			list("port", "port or range"),
			choice("proto", "", "tcp", "udp").each(),
			choice("protocol", "", "tls", "http", "quic", "ssh", "bittorrent", "stun", "dns").each(),
			text("outbound", "outbound", ""),
			flag("resolve", "0"),
		)},
	}
}

// common puts what every section takes before its own options.
func common(enabled string, own ...option) []option {
	return append([]option{flag("enabled", enabled), text("name", "free text", "")}, own...)
}
