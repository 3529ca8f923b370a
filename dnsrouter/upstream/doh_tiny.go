//go:build tiny

package upstream

// HasHTTPS says whether this build can ask servers of scheme https. One for
// routers with little flash cannot: Go's HTTP takes a megabyte and a half of it.
const HasHTTPS = false

func newDoH(*target) unknown { return "https" }
