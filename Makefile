# fraudguard: `make run` starts the service, `make test` proves it, `make lint` keeps it tidy, `make bench` measures it.
PYTHON ?= python3
VENV   ?= .venv
DATA   ?= var
BIN    := $(VENV)/bin

.PHONY: run test test-fast lint format bench clean

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --editable '.[spreadsheets]' --group dev
	touch $@

$(VENV)/.bench-ready: $(VENV)/.ready
	$(BIN)/pip install --quiet --group bench
	touch $@
