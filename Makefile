# make run    the quickstart in a browser       make test   every test, and the coverage
# make lint   ruff and mypy                     make clean  remove what these made
# make test-sqlite    the first half of "make test"
# make test-servers   every test that has a database, on PostgreSQL and on MariaDB
#
# "make test" runs on SQLite, and then those modules on PostgreSQL and MariaDB in which the database decides. A server
# that does not answer is passed over with one line, unless REQUIRE_SERVICES=1; tests/support/databases.py says where
# they are looked for.
#
# Each of them makes the environment that it needs in .venv, with the interpreter PYTHON.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVERS := postgresql mariadb
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

# An environment is bound to its interpreter and to its place: where either has changed, it is made anew.
ORIGIN = $$($(PYTHON) -c 'import os, sys; print(sys.version, sys.executable, os.getcwd())')

.PHONY: run test test-sqlite test-servers lint clean check-python FORCE

run: $(VENV)/installed-quickstart
	@exec $(BIN)/python examples/quickstart/app.py

test: test-sqlite
	TEST_SELECTION=core TEST_ROUNDS=5 $(BIN)/python -m tests.on_servers $(SERVERS) --quiet --numprocesses auto --basetemp .pytest_tmp

test-sqlite: $(VENV)/installed-test
	$(BIN)/python -m pytest --numprocesses auto --basetemp .pytest_tmp --cov --cov-report term-missing

test-servers: $(VENV)/installed-test
	$(BIN)/python -m tests.on_servers $(SERVERS) --numprocesses auto --basetemp .pytest_tmp

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* htmlcov
	rm -rf .hypothesis .mypy_cache .pytest_cache .pytest_tmp .ruff_cache examples/*/instance
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "Python 3.10 or newer is needed and $(PYTHON) is not that: name one, as in: make test PYTHON=python3.12" >&2; \
	  exit 1; }

$(VENV)/origin: FORCE | check-python
	@origin="$(ORIGIN)"; \
	if [ "$$(cat $@ 2>/dev/null)" != "$$origin" ] || ! $(BIN)/python -c '' 2>/dev/null; then \
	  echo "Making the environment $(VENV) with $$($(PYTHON) --version)"; \
	  rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) && $(PIP) install --upgrade 'pip>=25.1' && \
	  printf '%s\n' "$$origin" > $@; \
	fi

$(VENV)/installed-%: pyproject.toml setup.cfg $(VENV)/origin
	@echo "Installing the package and the dependency group \"$*\""
	@$(PIP) install --editable '.[login]' --group $*
	@touch $@

FORCE:
