# Everything a developer runs. `make` alone says what there is.

GO           ?= go
GOFMT        ?= $(shell $(GO) env GOROOT)/bin/gofmt
TEST_TIMEOUT ?= 10m
FUZZTIME     ?= 20s
BENCHFLAGS   ?=

# staticcheck is pinned in a module of its own, so that the main go.mod lists only what users link. The path is absolute
# because the modules of this repository share it.
STATICCHECK = $(GO) tool -modfile=$(CURDIR)/tools/go.mod staticcheck

# Modules beside the main one; each gets the same checks. (tools has no code of its own.)
MODULES = $(patsubst %/go.mod,%,$(wildcard integration/bench/go.mod examples/transports/go.mod))

.DEFAULT_GOAL := help

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# -count=1, since the tests depend on more than the go command knows of: Python programs, all files of the tree.
TESTFLAGS = -count=1 -timeout $(TEST_TIMEOUT)

.PHONY: test
test: setup lint ## set up this machine, then run every check and every test (FOOLSCAP_INTEGRATION=1, -race)
	FOOLSCAP_INTEGRATION=1 $(GO) test $(TESTFLAGS) -race ./...
	@set -e; for module in $(MODULES); do \
		echo "$(GO) -C $$module test $(TESTFLAGS) ./..."; \
		FOOLSCAP_INTEGRATION=1 $(GO) -C $$module test $(TESTFLAGS) ./...; \
	done

.PHONY: setup
setup: ## install what the integration tests need (Debian, Ubuntu), or say what to install
	@GO='$(GO)' ./integration/setup.sh

.PHONY: lint
lint: ## check formatting, go vet, staticcheck
	@unformatted=$$($(GOFMT) -l .) && \
		{ [ -z "$$unformatted" ] || { echo "not formatted; run make fmt:" $$unformatted >&2; exit 1; }; }
	$(GO) vet ./...
	$(STATICCHECK) ./...
	@set -e; for module in $(MODULES); do \
		echo "$(GO) -C $$module vet ./...  and staticcheck"; \
		$(GO) -C $$module vet ./...; \
		(cd $$module && $(STATICCHECK) ./...); \
	done

.PHONY: fmt
fmt: ## format every Go file
	$(GOFMT) -w .

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (20s) each
	@list=$$($(GO) test -list '^Fuzz' ./...) || { echo "$$list"; exit 1; }; \
	echo "$$list" | \
		awk '/^Fuzz/ { names[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, names[i]; n = 0 }' | \
	while read -r package target; do \
		echo "== $$target in $$package"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null || exit 1; \
	done

.PHONY: bench
bench: setup ## measure against bare TLS, net/rpc, gRPC and Python Foolscap (BENCHFLAGS goes to the program)
	$(GO) -C integration/bench run . $(BENCHFLAGS)
