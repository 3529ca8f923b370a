# fairlead: the two commands that a newcomer needs are `make demo` and
# `make test`. Both need nothing but Go.

GO       ?= go
MODULE   := github.com/fairlead/fairlead
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BUILT    := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || echo 0))
STRIP    := -s -w
LDFLAGS   = $(STRIP) -X main.version=$(VERSION) -X main.built=$(BUILT)
BUILD     = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# TAGS=quic gives builds and packages that can ask DNS servers over QUIC.
TAGS  ?=
comma := ,

# FUZZTIME is what `make fuzz` gives each target, SHORTFUZZ what `make test` does:
# a number of inputs, because a fuzzer whose time runs out in the midst of an
# input now and then calls that a failure ("context deadline exceeded").
FUZZTIME  ?= 1000000x
SHORTFUZZ ?= 10000x

# mkpkg knows the builds for routers and the architectures that each serves. ARCH
# chooses some: make ipk ARCH=mipsel_24kc. Without it all are made.
MKPKG := SOURCE_DATE_EPOCH=$(BUILT) $(GO) run ./cmd/mkpkg
ARCH  ?=

# A router's binary has no demo, and of packages that no packet passes through
# the functions are not copied into their callers: that saves six hundredths. The
# arithmetic of ciphers is spared, or a TLS handshake would take four times as long.
COLD := net/http net/http/... vendor/... github.com/vishvananda/... github.com/google/nftables/... \
	github.com/mdlayher/... encoding/json encoding/asn1 encoding/pem encoding/base64 encoding/hex \
	regexp regexp/... math/big mime/... net/textproto net/url log/... flag os os/... compress/... reflect \
	path/... fmt net crypto/... time context sort errors unicode/... strconv internal/strconv bufio \
	$(MODULE)/nft/... $(MODULE)/openwrt/... $(MODULE)/cmd/... $(MODULE)/dnsrouter/upstream \
	$(MODULE)/gateway/outbound $(MODULE)/gateway/device
HOT := $(foreach p,nistec/fiat edwards25519/field aes/... bigmod,crypto/internal/fips140/$(p))
ROUTER := -tags router$(addprefix $(comma),$(TAGS)) $(foreach p,$(COLD),-gcflags=$(p)=-l) $(foreach p,$(HOT),-gcflags=$(p)=)

# The tiny variant has no HTTPS, nor the HTTP that it would need. Where flash is that
# short, packets may pass through functions that are not copied, too.
TINY := $(ROUTER) -tags router,tiny -gcflags=$(MODULE)/...=-l

# The race detector needs a C compiler.
RACE := $(shell $(GO) list -race runtime >/dev/null 2>&1 && echo -race)

.PHONY: build demo test check fuzz cross ipk apk size clean

build:
	$(BUILD) -tags '$(TAGS)' -o bin/fairlead ./cmd/fairlead

# A home, a router and an internet in namespaces of this machine.
demo: build
	bin/fairlead demo

test: check
ifeq ($(RACE),)
	@echo '*** cgo or a C compiler is missing: the tests run WITHOUT the race detector'
endif
	$(GO) test $(RACE) -vet=off $$($(GO) list ./... | grep -v '/cmd/fairlead$$') # check has vetted
	$(GO) test $(RACE) -vet=off ./cmd/fairlead # by itself: what others load the machine with looks like a slow daemon
	$(GO) test -tags router,tiny -run Tiny ./openwrt/config # what the other tests do not build
	$(GO) test -tags quic -run QUIC ./openwrt/config
	$(GO) test -tags quic -run OverQUICIs ./cmd/fairlead
	$(GO) test $(RACE) -tags quic ./dnsrouter/upstream
	$(GO) test -tags quic -run '^$$' -fuzz FuzzUnframed -fuzztime $(SHORTFUZZ) ./dnsrouter/upstream
	@$(MAKE) --no-print-directory fuzz FUZZTIME=$(SHORTFUZZ)

check:
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags quic ./dnsrouter/upstream ./openwrt/config ./cmd/fairlead

# Every fuzz target of every package in turn. Minimizing is bounded, because it
# would otherwise take a minute for each interesting input.
fuzz:
	@files=$$($(GO) list -f '{{range .TestGoFiles}}{{$$.Dir}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$$.Dir}}/{{.}} {{end}}' ./...) || exit 1; \
	grep -o '^func Fuzz[A-Za-z0-9_]*' $$files | sed 's,^$(CURDIR)\(.*\)/[^/]*:func ,.\1 ,' | \
	while read -r package target; do \
		echo "fuzzing $$package $$target for $(FUZZTIME)"; \
		out=$$($(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$package" 2>&1) || \
			{ echo "$$out"; exit 1; }; \
	done

# What the routers run, stripped, with its size: the whole and the tiny variant.
cross: VERSION = $(shell $(MKPKG) version)
cross:
	@builds=$$($(MKPKG) builds $(ARCH)) || exit 1; \
	printf '%-40s %12s %8s\n' binary bytes MB; \
	echo "$$builds" | while read -r name env; do \
		export GOOS=linux $$env; \
		$(BUILD) $(ROUTER) -o bin/fairlead-linux-$$name ./cmd/fairlead && \
		$(BUILD) $(TINY) -o bin/fairlead-tiny-linux-$$name ./cmd/fairlead || exit 1; \
		wc -c bin/fairlead-linux-$$name bin/fairlead-tiny-linux-$$name | \
			awk '$$2 != "total" { printf "%-40s %12d %8.2f\n", $$2, $$1, $$1 / 1e6 }'; \
	done

# Packages for opkg (OpenWrt up to 24.10) and for apk (from 25.12 on), in bin/ipk
# and bin/apk; the same bytes on every machine.
ipk: cross
	@$(MKPKG) ipk $(ARCH)

apk: cross
	@$(MKPKG) apk $(ARCH)

# What packages take of a router's flash, and what takes it. Fails if one grew by
# more than 3 % over package/sizes.txt; RECORD=1 writes that file anew. What takes
# it is told of mipsle, whatever ARCH is.
size: VERSION = $(shell $(MKPKG) version)
size: ipk
	@GOOS=linux GOARCH=mipsle GOMIPS=softfloat $(BUILD) $(ROUTER) -ldflags '$(filter-out $(STRIP),$(LDFLAGS))' -o bin/fairlead-symbols ./cmd/fairlead
	@GOOS=linux GOARCH=mipsle GOMIPS=softfloat $(BUILD) $(TINY) -ldflags '$(filter-out $(STRIP),$(LDFLAGS))' -o bin/fairlead-tiny-symbols ./cmd/fairlead
	@$(MKPKG) cost bin/fairlead-symbols bin/fairlead-tiny-symbols
	@$(MKPKG) size $(if $(RECORD),record) $(ARCH)

clean:
	rm -rf bin

# Figures beside plain kernel forwarding, in about seven minutes; BENCH=-quick in
# about one.
bench: build
	$(GO) build -o bin/bench ./cmd/bench
	bin/bench $(BENCH)
.PHONY: bench

# The DNS server beside unbound, answer by answer; real clients; and tshark, which
# looks for malformed packets. In half a minute, where these are installed.
interop: build
	$(GO) build -o bin/interop ./cmd/interop
	bin/interop
.PHONY: interop

include cmd/vm/emulate.mk
