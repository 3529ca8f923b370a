# fairlead: the two commands a newcomer needs are `make demo` and `make test`.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
BUILD   := CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'

.PHONY: build demo

build:
	$(BUILD) -o bin/fairlead ./cmd/fairlead

# A home, a router and an internet in namespaces of this machine.
demo: build
	bin/fairlead demo
