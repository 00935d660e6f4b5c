# fraudguard: `make run` starts the service, `make test` proves it, `make kill-rounds` proves
# the loss bound at length, `make lint` keeps it tidy, `make bench` measures it.
PYTHON ?= python3
VENV   ?= .venv
DATA   ?= var
BIN    := $(VENV)/bin
CONFIG := $(DATA)/fraudguard.toml

.PHONY: run test kill-rounds lint format bench compose-smoke clean

run: $(VENV)/.ready $(CONFIG)
	$(BIN)/fraudguard --config $(CONFIG) run

# A file's tests stay in one process, and files begin in the order of their names: the long ones are not the last.
# The commands that tests start are compiled once, and not each time, where the environment forbids to keep that.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.ready
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=$(COVERAGE)
	$(BIN)/coverage report --include='$(PURE)' --fail-under=100

# The loss bound on a real Asterisk, at length: guard and link killed a hundred times with twenty callers (as root).
kill-rounds: $(VENV)/.ready
	FRAUDGUARD_KILLS=100 $(BIN)/python -m pytest -s tests/asterisk/test_kill_rounds.py

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench-ready
	$(BIN)/python benchmarks/prefix_lookup.py
	$(BIN)/python benchmarks/rates_import.py
	$(BIN)/python benchmarks/agi_sessions.py
	$(BIN)/python benchmarks/ami_events.py
	$(BIN)/python benchmarks/budgets.py
	$(BIN)/python benchmarks/pin_dialogue.py
	$(BIN)/python benchmarks/guarded_calls.py

# Everything together with a real Asterisk, in containers; starts a Docker engine where none runs (Debian, as root).
compose-smoke: $(VENV)/.ready
	.ci/docker-engine $(BIN)/python -m pytest --verbose tests/compose/smoke.py

clean:
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Branch coverage: everything, and the rooms that decide.
COVERAGE := 90
PURE     := fraudguard/numbering/*,fraudguard/rating/*,fraudguard/policy/*,fraudguard/money.py,fraudguard/clock.py,fraudguard/agi/protocol.py,fraudguard/ledger/*,fraudguard/pins/*,fraudguard/asking/*

$(CONFIG): | $(VENV)/.ready
	$(BIN)/fraudguard --config $@ init --sample

# Debian splits venv off Python: root gets it installed, anybody else is told.
INSTALL_VENV := { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y python3-venv; } \
	|| { echo 'Python has no venv here: as root, apt install python3-venv'; exit 1; }

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'fraudguard needs Python 3.11 or newer: make PYTHON=python3.11'; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(INSTALL_VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[apprise,spreadsheets]' --group dev
	touch $@

$(VENV)/.bench-ready: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --group bench
	touch $@
