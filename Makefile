# make run    the quickstart in a browser       make test   every test, and the coverage
# make lint   ruff and mypy                     make docs   the documentation, docs/_build/html/index.html
# make clean  remove what these made
#
# Each of them makes the environment that it needs in .venv, with the interpreter PYTHON.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

# An environment is bound to its interpreter and to its place: where either has changed, it is made anew.
ORIGIN = $$($(PYTHON) -c 'import os, sys; print(sys.version, sys.executable, os.getcwd())')

.PHONY: run test lint docs clean check-python FORCE

run: $(VENV)/installed-quickstart
	@exec $(BIN)/python examples/quickstart/app.py

test: $(VENV)/installed-test
	$(BIN)/python -m pytest --numprocesses auto --basetemp .pytest_tmp --cov --cov-report term-missing

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-docs
	$(BIN)/sphinx-build --builder html --fail-on-warning --keep-going --fresh-env docs docs/_build/html

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info .coverage .coverage.* htmlcov
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
