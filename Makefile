# make run    the quickstart in a browser       make test          the tests, on SQLite, PostgreSQL and MariaDB
# make forms  pages without JavaScript          make browser-test  examples, mails, documentation, in Chromium
# make spa    a front end on another origin     make docs          the documentation, docs/_build/html/index.html
# make lint   ruff, mypy and import-linter      make clean         remove what these made
#
# make test-unit      the tests that mirror the rooms of the package
# make test-sqlite    the first half of "make test"
# make test-slow      the tests that start many processes or whole applications
# make coverage       both on SQLite, and the branches of the package that they leave out
# make test-servers   the tests in which the database decides, on PostgreSQL and on MariaDB
# make races          the races on every database, 50 rounds each
# make bench          compare with sign-up by hand: BENCH=--short measures little, BENCH=--write-readme keeps the figures
# make fuzz           generated bodies on every database; OPTIONS="--short", "--database sqlite", "--seed 7"
# make storm          sign-ups through gunicorn while its workers are killed
# make soak           50,000 sign-ups, and the memory of the workers
# make conformance    schemathesis against the OpenAPI description
# make clients        linters of the OpenAPI description, and clients that are generated from it, in TypeScript and Python
# make translations   find the texts in the source, update the catalogues and compile them
#
# A server that does not answer is passed over with one line, unless REQUIRE_SERVICES=1;
# tests/support/database_servers.py says where the servers are looked for.
#
# Each target makes the environment that it needs in .venv, with the interpreter PYTHON. "spa", "browser-test" and
# "clients" need Node.js as well.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVERS := postgresql mariadb
PARALLEL := --numprocesses auto --dist worksteal --basetemp .pytest_tmp
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

# An environment is bound to its interpreter and to its place: where either has changed, it is made anew.
ORIGIN = $$($(PYTHON) -c 'import os, sys; print(sys.version, sys.executable, os.getcwd())')

SPA := examples/spa
INSTALLED := node_modules/.package-lock.json
NODE_MODULES := $(SPA)/$(INSTALLED)
CLIENTS := tests/openapi_clients

STORM_ACCOUNTS ?= 1000

# How often each race is run.
export TEST_ROUNDS ?= 2
races: export TEST_ROUNDS = 50

TARGETS := run forms spa test test-unit test-sqlite test-servers test-slow coverage races browser-test fuzz storm soak conformance clients translations \
  lint docs bench clean

.PHONY: $(TARGETS) check-python check-node FORCE

run: $(VENV)/installed-quickstart
	@exec $(BIN)/python examples/quickstart/app.py

forms: $(VENV)/installed-quickstart
	@exec $(BIN)/python examples/forms/app.py

spa: $(VENV)/installed-spa $(NODE_MODULES)
	@exec $(BIN)/python $(SPA)/backend.py

test: test-sqlite
	$(MAKE) --no-print-directory test-servers

test-unit: $(VENV)/installed-test
	$(BIN)/python -m pytest tests/unit $(PARALLEL)

test-sqlite: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(COVERAGE)

test-servers: $(VENV)/installed-test
	for server in $(SERVERS); do \
	  TEST_DATABASE=$$server $(BIN)/python -m pytest -m "database and not slow" $(PARALLEL) || exit 1; \
	done

test-slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m slow $(PARALLEL) $(COVERAGE)
	for server in $(SERVERS); do \
	  TEST_DATABASE=$$server $(BIN)/python -m pytest -m "database and slow" $(PARALLEL) || exit 1; \
	done

coverage: $(VENV)/installed-test
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report term-missing

races: $(VENV)/installed-test
	for database in sqlite $(SERVERS); do \
	  TEST_DATABASE=$$database $(BIN)/python -m pytest tests/races $(PARALLEL) || exit 1; \
	done

browser-test: $(VENV)/installed-browser $(NODE_MODULES)
	$(BIN)/python -m pytest tests/browser $(PARALLEL)

storm: $(VENV)/installed-test
	STORM_ACCOUNTS=$(STORM_ACCOUNTS) $(BIN)/python -m pytest -p tests.conftest --capture no tools/test_storm.py

fuzz: $(VENV)/installed-test
	$(BIN)/python -m tools.fuzz $(OPTIONS)

conformance: $(VENV)/installed-conformance
	$(BIN)/python -m tools.conformance $(OPTIONS)

clients: $(VENV)/installed-clients $(CLIENTS)/$(INSTALLED)
	$(BIN)/python -m pytest $(CLIENTS) $(PARALLEL)

soak: $(VENV)/installed-test
	$(BIN)/python -m tools.soak $(OPTIONS)

translations: $(VENV)/installed-test
	$(BIN)/python -m tools.catalogues

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/installed-docs
	$(BIN)/sphinx-build --builder html --fail-on-warning --keep-going --fresh-env docs docs/_build/html

bench: $(VENV)/installed-bench
	$(BIN)/python benchmarks/run.py $(BENCH)

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info .coverage .coverage.* htmlcov
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .pytest_tmp .ruff_cache examples/*/instance $(SPA)/node_modules $(CLIENTS)/node_modules $(SPA)/dist
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "Python 3.10 or newer is needed and $(PYTHON) is not that: name one, as in: make test PYTHON=python3.12" >&2; \
	  exit 1; }

check-node:
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 22 || (a == 22 && b >= 12) || (a == 20 && b >= 19) ? 0 : 1)' \
	  2>/dev/null && npm --version >/dev/null 2>&1 || { \
	  echo "Node.js 20.19, 22.12 or newer, with npm, is needed: https://nodejs.org/ has it" >&2; \
	  exit 1; }

%/$(INSTALLED): %/package.json %/package-lock.json | check-node
	@echo "Installing the packages of $*/package.json"
	@cd $* && npm ci --silent
	@touch $@

$(VENV)/origin: FORCE | check-python
	@origin="$(ORIGIN)"; \
	if [ "$$(cat $@ 2>/dev/null)" != "$$origin" ] || ! $(BIN)/python -c '' 2>/dev/null; then \
	  echo "Making the environment $(VENV) with $$($(PYTHON) --version)"; \
	  rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) && $(PIP) install --upgrade 'pip>=25.1' && \
	  printf '%s\n' "$$origin" > $@; \
	fi

$(VENV)/installed-%: pyproject.toml setup.cfg $(VENV)/origin
	@echo "Installing the package and the dependency group \"$*\""
	@$(PIP) install --editable '.[login,openapi]' --group $*
	@touch $@

FORCE:
