# Everything runs as root on Debian 12 or later with a kernel >= 6.7 and Swift 6.3 in PATH.
BUILD := swift build -c release -Xswiftc -enable-testing
export DEBIAN_FRONTEND := noninteractive
PREFIX := /usr/local
DESTDIR :=

.PHONY: all build build-tests prepare guest demo test databases interoperability lint format install clean

all: build

# Debian packages, only those that are missing; and a clear word about what cannot be installed.
prepare:
	@scripts/prepare

build: prepare
	$(BUILD)

build-tests: prepare
	$(BUILD) --build-tests

guest: prepare
	@scripts/make-guest

demo: build guest
	.build/release/understudy demo

test: build-tests guest
	scripts/run-tests

# MariaDB and SQLite through the deaths of their hosts; UNDERSTUDY_DATABASE_KILLS sets how many.
databases: build-tests guest
	@scripts/make-database-guest
	swift test -c release -Xswiftc -enable-testing --skip-build --no-parallel --filter DatabaseTests

# libnbd's own tests against our NBD server.
interoperability: build-tests
	@scripts/nbd-interoperability .build/release

lint:
	swift format lint --strict --recursive Package.swift Sources Tests

format:
	swift format -i --recursive Package.swift Sources Tests

# After `make build`. A package is made with DESTDIR=folder PREFIX=/usr.
install:
	@scripts/install "$(DESTDIR)" "$(PREFIX)"

clean:
	rm -rf .build
