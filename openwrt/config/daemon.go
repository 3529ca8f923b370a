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
		LogLevel: one(s, "log_level", s.parseLevel),
		StateDir: one(s, "state_dir", parsePath),
		CacheDir: one(s, "cache_dir", parsePath),
		Control:  one(s, "control", parseSocket),
		Replace:  s.choice("dnsmasq") == "replace",
	}
	if cfg.CacheDir == "" {
		cfg.CacheDir = cfg.StateDir
	}
	return cfg
}

func (s *section) parseLevel(v string) (slog.Level, error) {
	var level slog.Level
	v, err := s.entry("log_level").parseChoice(v)
	if err == nil {
		err = level.UnmarshalText([]byte(strings.ToUpper(v)))
	}
	return level, err
}
