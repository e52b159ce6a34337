# The commands of the project. `make` alone prints the few one needs.

PYTHON ?= python3
NO_PYTHON := Python 3.11 or newer is needed: install it, or name it: make PYTHON=/path/to/python3.
BIN := .venv/bin
READY := .venv/.ready
STUBS := mercato/api/.fingerprint
SOURCES := auditor benchmarks chaos gateway hatch_build.py mercato services shop simulator tests tools

# Starts take half as long from bytecode, also where a shell forbids to write any.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help up down demo test sweep slice fuzz bugs check fmt lint types protos wheel lock baseline clean

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1@/p' Makefile | awk -F@ '{printf "%-16s%s\n", $$1, $$2}'

up: $(STUBS) ## start the whole shop and say where to look (again: only what changed)
	@$(BIN)/mercato up

down: ## stop the shop; nothing is lost
	@if test -x $(BIN)/mercato; then $(BIN)/mercato down; fi

demo: up ## start the shop and play one shopper through it
	@$(BIN)/mercato demo

test: $(STUBS) ## run the tests, on a PostgreSQL, Valkey and Kafka of their own
	@$(BIN)/python -m pytest --numprocesses 4 $(ARGS)

sweep: $(STUBS) ## crash, hang, fail and lose answers at every place of every story, and audit (for hours; again: goes on)
	@$(BIN)/python -m chaos.sweep $(ARGS)

slice: $(STUBS) ## a dozen cases of the sweep, chosen by a printed seed
	@$(BIN)/python -m chaos.sweep --slice 12 $(ARGS)

fuzz: $(STUBS) ## send a mesh of its own what nobody should send, over REST and gRPC, for two minutes
	@$(BIN)/python -m chaos.fuzz $(ARGS)

bugs: $(STUBS) ## build the shop with one mistake after the other: the checker must find each (half an hour)
	@$(BIN)/python -m chaos.bugs $(ARGS)

check: lint types test slice morsel wheel ## all that CI checks: lint, types, tests, slices of sweep and fuzz, the wheel

# A slice of the fuzz, which the check has beside that of the sweep.
.PHONY: morsel
morsel: $(STUBS)
	@$(BIN)/python -m chaos.fuzz --seconds 6 $(ARGS)

fmt: $(READY) ## format the code
	@$(BIN)/ruff check --fix --quiet $(SOURCES); $(BIN)/ruff format $(SOURCES)

lint: $(STUBS) ## judge style, contracts and who imports whom
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check --quiet --diff $(SOURCES)
	@$(BIN)/python -m tools.compatibility lint
	@$(BIN)/lint-imports --no-cache --no-logo

types: $(STUBS) ## check the types
	@$(BIN)/mypy

protos: $(STUBS) ## make the stubs from protos/
	@:

wheel: $(STUBS) ## build the wheel and import every stub from it in a clean environment
	@$(BIN)/python -m tools.wheel

lock: $(READY) ## renew requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade --quiet \
		--generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements.lock

baseline: $(STUBS) ## accept today's contracts as what must not be broken
	@$(BIN)/python -m tools.compatibility baseline

clean: down ## remove the environment and everything generated
	@rm -rf .venv dist mercato/api buf services/*/v1 .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The environment is remade when the lock changes or the folder was moved; the stubs when a contract changes.
ifneq '$(shell head -n 1 $(READY) 2>/dev/null)' '$(CURDIR)'
.PHONY: $(READY)
endif

$(READY): requirements.lock pyproject.toml hatch_build.py tools/environment.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null || { echo "make: $(NO_PYTHON)" >&2; exit 1; }
	@$(PYTHON) tools/environment.py

$(STUBS): $(READY) $(shell find protos/mercato protos/services) tools/stubs.py tools/contract.py
	@$(BIN)/python -m tools.stubs && touch $(STUBS)
