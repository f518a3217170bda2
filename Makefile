# `make demo` and `make test` do all the set-up: they need Python 3.11 or newer and make, nothing else.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help demo test lint bench bench-parts bench-baseline bench-compare soak install clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    install into $(VENV), then run the demonstration in both worlds"
	@echo "make test    install, then lint, type check and test"
	@echo "make lint    lint and type check only"
	@echo "make bench   measure beside Ray and Dask.distributed (ARGS=--quick: under 3 minutes); docs/performance.md has more"
	@echo "make soak    the tests that are too long for every day"
	@echo "make clean   remove everything that make has made"

demo: $(INSTALLED)
	@$(BIN)/thornback demo

test: lint
	@echo "== tests of simulations and pure functions, side by side"
	@$(BIN)/python -m pytest -n auto --maxprocesses 8 -m "not soak and not real"
	@echo "== tests with real processes, one by one"
	@$(BIN)/python -m pytest -m "real and not soak"
	@echo "== all passed: lint, types, tests"

lint: $(INSTALLED)
	@echo "== lint"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted as ruff does it; run: $(BIN)/ruff format ."; exit 1; }
	@echo "== types"
	@$(BIN)/mypy

bench: $(INSTALLED)
	@$(BIN)/python experiments/peers.py $(ARGS)

BENCH_PARTS = $(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only \
	--benchmark-columns=min,median,ops --benchmark-max-time=0.5

bench-parts: $(INSTALLED)
	@$(BENCH_PARTS)

bench-baseline: $(INSTALLED)
	@$(BENCH_PARTS) --benchmark-save=baseline

bench-compare: $(INSTALLED)
	@$(BENCH_PARTS) --benchmark-compare --benchmark-group-by=name

soak: $(INSTALLED)
	@$(BIN)/python -m pytest -m soak

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found="$$python"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "Thornback needs Python 3.11 or newer, and there is none on the PATH."; \
		echo "Install one, or name one: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3"; \
		exit 1; \
	fi; \
	echo "== install into $(VENV), with $$("$$found" --version)"; \
	if [ ! -x $(BIN)/python ]; then \
		"$$found" -m venv $(VENV) || { \
			rm -rf $(VENV); \
			echo "This Python cannot make virtual environments; many systems have that in a package named python3-venv."; \
			exit 1; \
		}; \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
