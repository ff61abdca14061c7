# The commands of this project. `make demo` needs Go and make alone; `make test`
# brings what else it needs from Debian's packages where it may.

TAGS    := urfave_cli_no_docs
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# The time of the commit, so that two builds of one commit are one program.
BUILT   := $(shell git log -1 --format=%cI 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.buildTime=$(BUILT)

STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 2s

# What packages are built for, and where they and the programs go.
ARCHES  ?= amd64 arm64
DIST    ?= dist
PROGRAM ?= bin/agent

# For pipefail: a test that fails must not be hidden by the filter behind it.
SHELL := /bin/bash

.PHONY: build demo test deps lint cross unit unit-as-user fuzz packages e2e bench-deps bench bench-approve soak chaos clean

build:
	CGO_ENABLED=0 go build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o $(PROGRAM) ./cmd/agent

demo: build
	./scripts/demo.sh bin/agent

# Everything that has to pass. The suite runs as who calls it and, for root, what a
# user's rights matter to once more as a plain user.
test: deps lint cross unit unit-as-user fuzz

# The servers and tools that the tests talk to, as root on Debian and its kin;
# elsewhere it says what is missing.
deps:
	./scripts/deps.sh

lint:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-ed:"; gofmt -l .; exit 1; }
	go vet -tags $(TAGS) ./...
	$(STATICCHECK) -tags $(TAGS) ./...

# For Windows and macOS, where a mirror may stand: compiled and vetted.
cross:
	TAGS=$(TAGS) ./scripts/cross.sh

# Much of what a test does is waiting, so one package more has its turn than there are
# cores. What vet says, lint has shown.
unit:
	@set -o pipefail; umask 022; go test -race -v -vet=off -p $$(($$(nproc) + 1)) -timeout 20m -tags $(TAGS) ./... 2>&1 | awk -f scripts/show.awk

unit-as-user:
	./scripts/test-as-user.sh

# A short, bounded run of every fuzz target; FUZZTIME=10m for a long one.
fuzz:
	./scripts/fuzz.sh $(FUZZTIME)

# .deb and .rpm for each architecture. VERSION=1.2.3 names a version; else git does.
packages:
	@for arch in $(ARCHES); do GOARCH=$$arch $(MAKE) -s build PROGRAM=build/programs/$$arch/agent || exit 1; done
	@TAGS=$(TAGS) ./packaging/build.sh '$(VERSION)' $(DIST) $(foreach arch,$(ARCHES),$(arch)=build/programs/$(arch)/agent)

# The packages on a real systemd, in a container of Debian with a network of its own.
e2e:
	./e2e/run

# What only the benchmark needs: the peers it measures against, and gnuplot.
bench-deps:
	./scripts/bench-deps.sh

# Against the script that an administrator writes today and the nearest peers, and
# how cost grows; see docs/benchmarks.md.
bench: build
	./bench/run

# What a mirror's owner waits for: an approval of 300 MB, against sha256sum and unzip.
bench-approve:
	go test -tags $(TAGS) -run '^$$' -bench Approve -benchtime 5x ./mirror

# One daemon through ten thousand changes and a thousand updates, twice: the
# program as it is installed, and inside of a process whose goroutines can be counted.
# Ten minutes; what grows is a failure. `make test` has a twentieth of it.
soak: build
	@set -o pipefail; go build -o build/soak ./bench/soak; \
	{ echo '# What years leave behind in the daemon'; echo; ./build/soak -program $(PROGRAM) && ./build/soak; } | tee bench/results/soak.md

# What takes too long for `make test`, which has a share of each: every crash point
# and failing call, every power cut, crowds of processes, and the attacks that move
# gigabytes. The certificates are printed and kept. See chaos/run for doing less.
chaos: build
	./chaos/run $(PROGRAM)

clean:
	rm -rf bin build dist
