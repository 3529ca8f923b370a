# fairlead: the two commands that a newcomer needs are `make demo` and
# `make test`. Both need nothing but Go.

GO       ?= go
MODULE   := github.com/fairlead/fairlead
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BUILT    := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
LDFLAGS  := -s -w -X main.version=$(VERSION) -X main.built=$(BUILT)
BUILD    := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# FUZZTIME is what `make fuzz` gives each target, SHORTFUZZ what `make test` does:
# a number of inputs, because a fuzzer whose time runs out in the midst of an
# input now and then calls that a failure ("context deadline exceeded").
FUZZTIME  ?= 1000000x
SHORTFUZZ ?= 10000x

# GOARCH and what follows it: GOARM for arm, GOMIPS for mips and mipsle.
CROSS := mipsle/softfloat mips/softfloat arm/5 arm/6 arm/7 arm64 amd64 386 riscv64

# A router's binary has no demo, and of packages that no packet passes through
# the functions are not copied into their callers: that saves six hundredths.
COLD := net/http net/http/... vendor/... github.com/vishvananda/... github.com/google/nftables/... \
	github.com/mdlayher/... go4.org/... encoding/json encoding/asn1 crypto/x509 crypto/x509/... crypto/tls \
	regexp regexp/... math/big mime/... net/textproto net/url log/... flag os os/... compress/... reflect \
	path/... fmt net crypto/rsa crypto/ecdsa crypto/hpke crypto/dsa crypto/internal/fips140/rsa \
	crypto/internal/fips140/mlkem encoding/pem encoding/base64 encoding/hex \
	$(MODULE)/nft/... $(MODULE)/openwrt/... $(MODULE)/cmd/... $(MODULE)/dnsrouter/upstream \
	$(MODULE)/gateway/outbound $(MODULE)/gateway/device
ROUTER := -tags router $(foreach p,$(COLD),-gcflags=$(p)=-l)

# The race detector needs a C compiler.
RACE := $(shell $(GO) list -race runtime >/dev/null 2>&1 && echo -race)

.PHONY: build demo test check fuzz cross clean

build:
	$(BUILD) -o bin/fairlead ./cmd/fairlead

# A home, a router and an internet in namespaces of this machine.
demo: build
	bin/fairlead demo

test: check
ifeq ($(RACE),)
	@echo '*** cgo or a C compiler is missing: the tests run WITHOUT the race detector'
endif
	$(GO) test $(RACE) $$($(GO) list ./... | grep -v '/cmd/fairlead$$')
	$(GO) test $(RACE) ./cmd/fairlead # by itself: what others load the machine with looks like a slow daemon
	@$(MAKE) --no-print-directory fuzz FUZZTIME=$(SHORTFUZZ)

check:
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	$(GO) vet ./...

# Every fuzz target of every package in turn. Minimizing is bounded, because it
# would otherwise take a minute for each interesting input.
fuzz:
	@list=$$($(GO) test -list '^Fuzz' ./...) || { echo "$$list"; exit 1; }; \
	echo "$$list" | awk '/^Fuzz/ { t[n++] = $$1 } $$1 == "ok" { while (n) print $$2, t[--n] }' | \
	while read -r package target; do \
		echo "fuzzing $$package $$target for $(FUZZTIME)"; \
		out=$$($(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$package" 2>&1) || \
			{ echo "$$out"; exit 1; }; \
	done

# What the routers run, stripped, with its size.
cross:
	@printf '%-20s %12s %8s\n' target bytes MB
	@for t in $(CROSS); do \
		arch=$${t%%/*}; variant=; case $$t in */*) variant=$${t#*/};; esac; \
		out=bin/fairlead-linux-$$(echo "$$t" | tr / -); \
		case $$arch in arm) export GOARM=$$variant;; mips*) export GOMIPS=$$variant;; esac; \
		GOOS=linux GOARCH=$$arch $(BUILD) $(ROUTER) -o "$$out" ./cmd/fairlead || exit 1; \
		size=$$(wc -c <"$$out"); \
		printf '%-20s %12d %8s\n' "linux/$$t" "$$size" "$$(echo "$$size" | awk '{ printf "%.2f", $$1 / 1e6 }')"; \
	done

clean:
	rm -rf bin

# Figures beside plain kernel forwarding, in about seven minutes; BENCH=-quick in
# about one.
bench: build
	$(GO) build -o bin/bench ./cmd/bench
	bin/bench $(BENCH)
.PHONY: bench
