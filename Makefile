# make run    the quickstart in a browser       make test   every test, and the coverage
# make lint   ruff and mypy                     make clean  remove what these made
# make storm  sign-ups through gunicorn while its workers are killed
# make fuzz   generated bodies on every database; OPTIONS="--short", "--database sqlite", "--seed 7"
# make conformance        schemathesis against the OpenAPI description
# make soak               50,000 sign-ups, and the memory of the workers
# make mutants MODULE=x   changes in flask_rest_registration/x.py, or in all modules, that the tests must notice
#
# Each of them makes the environment that it needs in .venv, with the interpreter PYTHON.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

# An environment is bound to its interpreter and to its place: where either has changed, it is made anew.
ORIGIN = $$($(PYTHON) -c 'import os, sys; print(sys.version, sys.executable, os.getcwd())')

STORM_ACCOUNTS ?= 1000

.PHONY: run test storm fuzz conformance soak mutants lint clean check-python FORCE

run: $(VENV)/installed-quickstart
	@exec $(BIN)/python examples/quickstart/app.py

test: $(VENV)/installed-test
	$(BIN)/python -m pytest --numprocesses auto --basetemp .pytest_tmp --cov --cov-report term-missing

storm: $(VENV)/installed-test
	STORM_ACCOUNTS=$(STORM_ACCOUNTS) $(BIN)/python -m pytest --capture no tests/test_storm.py

fuzz: $(VENV)/installed-test
	$(BIN)/python -m tests.stress.fuzz $(OPTIONS)

conformance: $(VENV)/installed-conformance
	$(BIN)/python -m tests.stress.conformance $(OPTIONS)

soak: $(VENV)/installed-test
	$(BIN)/python -m tests.stress.soak $(OPTIONS)

mutants: $(VENV)/installed-mutants
	$(BIN)/python -m tests.stress.mutants $(MODULE)

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
