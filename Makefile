# Everything a person does here. `make` alone lists it.
# CARGO_TARGET_DIR is honoured. One cargo profile (dev) serves all targets, so that RocksDB and libp2p compile once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Settings: make testnet N=7 DIR=./seven; make sim SEEDS=100000. Without N, what is in DIR, or 4 where DIR is new.
N ?=
DIR ?= ./testnet
SEEDS ?= 2000

CARGO ?= cargo
CAIRN = $(or $(CARGO_TARGET_DIR),target)/debug/cairn
TESTNET = $(CAIRN) testnet $(if $(N),--validators $(N)) --dir $(DIR)

.PHONY: help testnet setup build test check fix sim bench image clean

help: ## list the targets
	@echo 'make testnet is the place to begin.'
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F '|' '{ printf "%-14s %s\n", $$1, $$2 }'

# A terminal's Ctrl-C goes to the foreground process group. `set -m` gives the testnet one of its own, so that it stops
# its validators while make sees a command that ended well. Without a terminal, make's signals reach it as they are.
testnet: setup build ## install what is missing, build, run N=4 validators in DIR=./testnet; Ctrl-C stops them
	@if [ -t 0 ]; then set -m; $(TESTNET); else exec $(TESTNET); fi

setup: ## install make, C/C++ compiler and libclang where missing (asks first when not root)
	@scripts/setup

build: ## build the cairn program
	$(CARGO) build --locked --workspace
	@echo 'built $(CAIRN)'

test: ## run all tests, and the simulator on SEEDS=2000 seeds
	@scripts/test $(SEEDS)

check: ## what CI checks besides tests: format, lints, docs, licences, unused dependencies, layers, style; never writes
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked -p cairn-node --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --locked check; \
	else echo 'cargo-deny is not installed: licences, advisories and sources are not checked'; fi
	@if command -v cargo-machete >/dev/null; then $(CARGO) machete; \
	else echo 'cargo-machete is not installed: unused dependencies are not searched'; fi
	$(CARGO) test --locked --workspace --test layering --test circles --test tidy

fix: ## rewrite files: format, and what clippy can fix by itself
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

sim: ## run the simulator on SEEDS=2000 seeds
	$(CARGO) run -q -p cairn-simulator -- --seeds $(SEEDS)

bench: build ## throughput, latency and resource use of a testnet on this machine, in one table; then the benchmarks of single parts
	$(CAIRN) bench
	$(CARGO) bench --profile dev --workspace --bench '*'

image: ## build the container image `cairn` from source (minutes the first time)
	docker build -t cairn .

clean: ## remove the build and ./testnet
	$(CARGO) clean
	rm -rf ./testnet
