# `make help` lists what there is. Every target installs what it needs beyond Go and make, and says so.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
BIN      := bin
COMMANDS := causewayd causeway causeway-tray causeway-agent causeway-server
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X github.com/causewayhq/causeway/internal/version.Version=$(VERSION)
LINT     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2
LICENSES := github.com/google/go-licenses@v1.6.0
FUZZTIME ?= 10s
DURATION ?= 20m
export CGO_ENABLED ?= 0
# Whatever is built or tested here has the tags that programs are shipped with.
export GOFLAGS += -tags=$(shell grep '^[a-z]' packaging/tags.txt | paste -sd,)
# The linter's cache keeps positions of the tree that filled it: shared between clones, it reports files of one since deleted.
export GOLANGCI_LINT_CACHE ?= $(CURDIR)/.cache/golangci-lint

.PHONY: help build demo test e2e continuity blackhole bench fuzz lint fmt generate cross packages licenses clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1|\2/' | while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

build: ## the five programs, static, into bin/
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ $(addprefix ./cmd/,$(COMMANDS))

demo: ## watch a desktop reach a workspace by name, in network namespaces of its own
	@scripts/as-root.sh scripts/demo.sh

test: ## all unit tests with -race, Windows tests under Wine, systemd hosts, a sample of the long rigs (under 25 minutes)
	@scripts/as-root.sh scripts/test.sh

e2e: ## every long rig; writes docs/reports/e2e.md
	@scripts/as-root.sh scripts/e2e.sh

continuity: ## names and sessions under a load while each part is taken away; writes docs/reports/continuity.md
	@scripts/as-root.sh scripts/continuity.sh

blackhole: ## the control plane unreachable for DURATION (default 20m); writes docs/reports/blackhole.md
	@scripts/as-root.sh scripts/blackhole.sh $(DURATION)

bench: ## medians and ratios against peers measured in the same run; writes docs/reports/bench.md
	@scripts/as-root.sh scripts/bench.sh

fuzz: ## each fuzz target for FUZZTIME (default 10s)
	@scripts/fuzz.sh $(FUZZTIME)

lint: ## golangci-lint, at its pinned version
	@$(GO) run $(LINT) run ./...

fmt: ## format everything
	@$(GO) run $(LINT) fmt ./...

generate: ## compile the .proto files again; CI fails when that changes anything
	$(GO) run ./internal/protogen

cross: ## vet and build for linux, darwin and windows on amd64 and arm64
	@scripts/cross.sh

packages: ## every package of every system into dist/, with SBOM, licences and checksums (fewer: FORMATS="deb rpm apk" ARCHES="amd64 arm64" NAMES="causeway ...")
	@scripts/packages.sh dist

licenses: ## the licence of every third-party module that is linked into the programs
	@$(GO) run $(LICENSES) report $(addprefix ./cmd/,$(COMMANDS)) --ignore github.com/causewayhq/causeway

clean: ## remove what was built
	rm -rf $(BIN)
