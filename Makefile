# Everything a newcomer needs: `make demo` shows it, `make test` proves it, `make setup` alone installs what they need.
PYTHON ?= python3
VENV := .venv
# Tests wait more than they compute; each file of them stays with one process, and the longest come first.
WORKERS ?= 3

.PHONY: help setup setup-test demo test unit lint bench proto clean

help:
	@printf '%s\n' 'make demo    set up, then run the whole swarm tutorial on this computer' \
	  'make test    set up, then run every test' 'make setup   install what is missing (Debian packages, .venv)' \
	  'make lint    ruff and mypy' 'make unit    the tests that need no root' \
	  'make bench   speed and memory, side by side with dockerd' 'make proto   regenerate the protobuf code' \
	  'make clean   remove .venv and caches'

setup:
	@PYTHON=$(PYTHON) scripts/setup

setup-test:
	@PYTHON=$(PYTHON) scripts/setup test

demo: setup
	@$(VENV)/bin/python -m demo

test: setup-test
	$(VENV)/bin/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

unit: setup
	$(VENV)/bin/pytest tests/unit tests/cluster

lint: setup
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

bench: setup-test
	@$(VENV)/bin/python -m bench

proto: setup
	scripts/protoc

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
