# fairlead: the two commands a newcomer needs are `make demo` and `make test`.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BUILT   := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.built=$(BUILT)
BUILD   := CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'

.PHONY: build demo

build:
	$(BUILD) -o bin/fairlead ./cmd/fairlead

# A home, a router and an internet in namespaces of this machine.
demo: build
	bin/fairlead demo
