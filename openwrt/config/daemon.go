package config

import (
	"log/slog"
	"strings"
)

// daemon reads what section main says of the daemon itself.
func (s *section) daemon() *Config {
	cfg := &Config{
		File:     s.b.file,
		Enabled:  s.flag("enabled"),
		Networks: every(s, "network", parseNetwork),
		Devices:  every(s, "device", parseDevice),
		Closed:   s.choice("on_failure") == "closed",
		IPv6:     s.flag("ipv6"),
		Router:   s.flag("router"),
		Strict:   s.choice("reload") == "strict",
		LogLevel: one(s, "log_level", chosen(s.entry("log_level"), parseLevel)),
		StateDir: one(s, "state_dir", parsePath),
		CacheDir: one(s, "cache_dir", parsePath),
		Control:  one(s, "control", parseSocket),
		Replace:  s.choice("dnsmasq") == "replace",

		LeakMonitor: s.flag("leak_monitor"),
	}
	if cfg.CacheDir == "" {
		cfg.CacheDir = cfg.StateDir
	}
	return cfg
}

func parseLevel(s string) (slog.Level, error) {
	var level slog.Level
	err := level.UnmarshalText([]byte(strings.ToUpper(s)))
	return level, err
}
