# driftline. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.driftline-ready
# As many processes as cores: most tests wait. A file stays in one process, and so do its brokers.
# The files are dealt out in order and not by their number of tests: those that take long come first.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY) ## Make the environment in .venv (the other targets do it themselves)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("driftline needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (set PYTHON=...)" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV) || { echo "cannot make $(VENV): is the package python3-venv installed?" >&2; exit 1; }; }
	@echo "installing driftline and what it stands on into $(VENV) (about a minute, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,dev]'
	@touch $(READY)

demo: $(READY) ## Replay real data through the whole line; watch a bad release being rolled back
	@$(BIN)/driftline demo $(ARGS)

test: lint ## Set up, check, and run every test that this machine can run
	@$(BIN)/python -m pytest $(PARALLEL) --doctest-modules $(ARGS)

check: lint ## What every commit must pass: formatting, lint, types, imports, the quick tests
	@$(BIN)/python -m pytest $(PARALLEL) --doctest-modules tests/unit tests/laws tests/contract tests/golden tests/dashboards detectors streams sinks dashboards $(ARGS)

lint: $(READY)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m deploy.generate --check
	@$(BIN)/python -m docs.generate --check

format: $(READY) ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

faults: $(READY) ## Every fault of the matrix on a real Kafka, with its guard and without (an hour): make faults ARGS="--only A3,B1"
	@$(BIN)/python -m tests.faults $(ARGS)

soak: $(READY) ## An hour of random kills; nothing lost, nothing twice, memory flat: make soak MINUTES=60
	@$(BIN)/python -m tests.faults --soak $(or $(MINUTES),60) $(ARGS)

bench: $(READY) ## Benchmarks in their quick form; python -m bench NAME runs one in full, also peers
	@missed=; for each in hotpath startup scaling latency memory judge canary detection detectors store boards wire; do \
	  $(BIN)/python -m bench $$each --quick || missed="$$missed $$each"; done; \
	  test -z "$$missed" || { echo "failed, or missed a gate:$$missed"; exit 1; }

tools: $(READY) ## Fetch or build the linters of what is deployed; building takes some minutes, once
	@$(BIN)/python deploy/tools.py

clean: ## Remove what was built and what runs left behind
	rm -rf $(VENV) var build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help setup demo test check lint format faults soak bench tools clean
