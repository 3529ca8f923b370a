# Tests on other processors, in emulation. The Makefile includes this.

# How routers' processors differ: the word, the byte order, and what they align.
# Each with the emulator of qemu-user-static. What runs as ARM 5 runs as 6 and 7.
EMULATED := mips/softfloat/qemu-mips-static mipsle/softfloat/qemu-mipsel-static \
	arm/5/qemu-arm-static arm64//qemu-aarch64-static

# qemu-user has no nf_tables, no namespaces and no TPROXY, some options of sockets
# are not quite the kernel's, and programs that are started hang now and then: it
# is for what works on values. What needs more is run by test-vm.
PURE := $(GO) list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' ./sniff/... ./dnsrouter/... ./gateway/policy/... ./nft/mark ./openwrt/... | \
	awk '!/nstest/ && $$1 !~ /dnsrouter\/upstream|openwrt\/dnsmasq/ { print $$1 }'

.PHONY: test-arch test-vm

# The netlink messages of a little-endian and of a big-endian build are compared,
# number by number. -trimpath compiles what test-vm needs, too.
test-arch:
	@mkdir -p bin/arch
	$(GO) test -count=1 -run TestEveryMessage ./nft -args -messages $(CURDIR)/bin/arch/messages-here
	@for t in $(EMULATED); do \
		export GOOS=linux CGO_ENABLED=0 GOFLAGS=-trimpath GOARCH=$${t%%/*} EMULATOR=$${t##*/}; variant=$${t#*/}; variant=$${variant%%/*}; \
		case $$GOARCH in arm) export GOARM=$$variant;; mips*) export GOMIPS=$$variant;; esac; \
		echo "=== $$GOARCH $$variant"; \
		case $$t in mips/*|arm/5/*) $(GO) vet ./... || exit 1;; esac; \
		$(GO) test -vet=off -p 4 -timeout 5m -exec $$EMULATOR $$($(PURE)) || exit 1; \
		$(GO) test -vet=off -count=1 -exec $$EMULATOR -run TestEveryMessage ./nft -args -messages $(CURDIR)/bin/arch/messages-there && \
		diff bin/arch/messages-here bin/arch/messages-there || exit 1; \
	done

# The build for routers, with what it needs of the kernel, under the kernels of
# three architectures; VM chooses: make test-vm VM='-machines s390x -v nft'.
test-vm:
	@GOOS=linux GOARCH=mipsle GOMIPS=softfloat $(BUILD) $(ROUTER) -o bin/vm/mipsel ./cmd/fairlead
	@GOOS=linux GOARCH=arm64 $(BUILD) $(ROUTER) -o bin/vm/arm64 ./cmd/fairlead
	@GOOS=linux GOARCH=s390x $(BUILD) $(ROUTER) -o bin/vm/s390x ./cmd/fairlead
	$(GO) run ./cmd/vm -daemon bin/vm/% $(VM)
