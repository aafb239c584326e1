# Every target does its own set-up; a second call only compares file dates.
PYTHON ?= python3
BIN := .venv/bin
RECIPE ?= digits
MINUTES ?= 30

.DEFAULT_GOAL := help
.PHONY: help train test lint format bench busy data scale engines checkpoint resume soak setup clean

help:  ## say what each target does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | awk -F': *' '{printf "  make %-10s %s\n", $$1, $$2}'

train: .venv/.ready  ## train a built-in recipe: make train RECIPE=iris (digits by default, no download)
	@$(BIN)/danlu train $(RECIPE)

test: .venv/.ready lint  ## run the linters and the whole test suite
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist worksteal

lint: .venv/.ready  ## run ruff, mypy and the import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/.ready  ## bring the code into its format
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: .venv/.bench-ready  ## measure danlu beside other trainers; writes bench/results/peers.json
	@$(BIN)/python -m bench.peers

busy: .venv/.ready  ## measure an update beside a process that keeps a core busy; writes bench/results/busy.json
	@$(BIN)/python -m bench.busy

data: .venv/.bench-ready  ## measure how fast data is served; writes bench/results/data.json
	@$(BIN)/python -m bench.data

scale: .venv/.ready  ## measure updates of growing size; writes bench/results/scale.json and docs/scale.png
	@$(BIN)/python -m bench.scale

engines: .venv/.ready  ## measure danlu.zero beside PyTorch; writes bench/results/engines.json
	@$(BIN)/python -m bench.engines

checkpoint: .venv/.ready  ## measure what saving and resuming cost; writes bench/results/checkpoint.json
	@$(BIN)/python -m bench.checkpoint

resume: .venv/.bench-ready  ## kill and resume danlu beside other trainers; writes bench/results/resume.json
	@$(BIN)/python -m bench.resume

soak: .venv/.ready  ## kill and resume random runs for a time: make soak MINUTES=60
	@PYTHONPATH=tests $(BIN)/python -m kills.soak --minutes $(MINUTES)

setup: .venv/.ready  ## make .venv with pinned requirements and danlu itself

clean:  ## remove .venv and caches; runs stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info

.venv/.ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "danlu needs Python 3.11 or newer; got $$($(PYTHON) --version). Fix: make PYTHON=python3.12 ..."; exit 2; }
	@echo "setting up .venv: about a minute, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements/dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.bench-ready: .venv/.ready requirements/bench.txt
	@echo "installing the peers that the benchmark measures"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements/bench.txt
	@touch $@
