# On a fresh machine with python3 and make, every target sets up what it needs.

PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.installed
SECONDS ?= 120
HOST    := 3.2.2
VENV    = $$($(PYTHON) tests/matrix.py --venv $(1))

.PHONY: help demo test lint types cov bench soak host-suite fast-check matrix dist pictures tools clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(READY): pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq --group dev --editable .
	touch $@

demo:  ## run the shop and the lights of the examples, with what a user installs
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install -qq .
	.venv-demo/bin/python examples/shop.py
	.venv-demo/bin/python examples/lights.py --live 4

test: $(READY)  ## run the tests
	$(BIN)/pytest

lint: $(READY)  ## check style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)  ## check types, strictly, twice
	$(BIN)/mypy
	$(BIN)/pyright

cov: $(READY)  ## run the tests on three hosts, old and new: every branch must have run
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(call VENV,3.0.0) -m coverage run -m pytest -m "not newest"
	$(call VENV,2.5.0) -m coverage run -m pytest -m "not newest"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench:  ## print what an orchestrator costs beside bare machines
	$(call VENV,3.2.2) tests/benchmarks --beside $(call VENV,2.6.0)
	$(call VENV,2.6.0) tests/benchmarks

soak:  ## let everything fail at random for two minutes, or SECONDS=, and account for it
	SECONDS=$$(($(SECONDS) / 3)) $(call VENV,3.2.2) tests/soak
	SECONDS=$$(($(SECONDS) / 3)) FAST=1 $(call VENV,3.2.2) tests/soak
	SECONDS=$$(($(SECONDS) / 3)) $(call VENV,2.5.0) tests/soak

host-suite:  ## run python-statemachine's own tests with each machine in an orchestrator
	$(PYTHON) tests/host_suite

fast-check:  ## compare the fast lane with the engine of a new host: HOST=3.3.0
	FAST_EXAMPLES=20000 $(call VENV,$(HOST)) -m pytest --fast-check -o faulthandler_timeout=0 tests/test_fast_model.py
	$(call VENV,$(HOST)) -m pytest --fast-check --fast -m "not newest"
	$(PYTHON) tests/host_suite --host $(HOST) --fast

matrix:  ## run the tests on every supported host and every Python found
	$(PYTHON) tests/matrix.py

pictures: $(READY)  ## draw the pictures of the README anew, from the examples
	$(BIN)/python tests/pictures.py

tools:  ## install what reads our drawings, Mermaid, for the tests; Graphviz is the system's
	npm install --silent --no-save --prefix .node mermaid@11 jsdom@26

dist: $(READY)  ## build sdist and wheel, look inside, install the wheel and import it
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m zipfile --list dist/*.whl | grep py.typed
	$(BIN)/python -m tarfile --list dist/*.tar.gz | grep tests/matrix.py
	$(PYTHON) -m venv --clear .venv-dist
	.venv-dist/bin/python -m pip install -qq dist/*.whl
	.venv-dist/bin/python -I -c "import statemachines_orchestrator as package; print(package.__file__)"

clean:  ## remove everything that make made
	rm -rf .venv .venv-* .host-suite .node dist build htmlcov .coverage .coverage.* coverage.xml
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find statemachines_orchestrator tests examples -name __pycache__ -prune -exec rm -rf {} +
