# make install   the environment, in .venv
# make demo   from nothing to a report on synthetic mammograms
# make test   all tests
# make test-fast   those that neither train for long nor run a study: what to run while working
# make coverage   which lines and branches of miram the tests run, workers included
# make lint   style, types, layering and declared packages
# make bench  speed beside textbook versions, and what fell since the baseline
# make faults   damaged files, killed runs, full disks, planted names; docs/trust.md says what was found
# make docs   the documentation, in build/docs, with the notebooks run on a tiny study
# make audit   pins, licenses, known vulnerabilities and a parts list of what is installed
# make mutants   changed formulas of the statistics: which do the tests not notice
# make matrix   quick tests on all Pythons here, with the oldest, pinned and newest dependencies
# make ui     MLflow and Kedro-Viz in the browser; of another study by DATA_ROOT=/data/study

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
export DO_NOT_TRACK := 1
# Containers set it; here every command and test would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test test-fast coverage lint format faults bench docs audit mutants matrix ui clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))" \
		|| { echo "miram needs Python 3.11 to 3.13; name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
# torch first and alone: pip deletes its wheels before it fetches the rest, so less disk is needed
	$(PIP) torch torchvision
	$(PIP) -e ".[dev]"
	touch $@

install: $(VENV)/installed

demo: $(VENV)/installed
	$(BIN)/kedro run

test: $(VENV)/installed
	$(BIN)/python -m pytest

test-fast: $(VENV)/installed
	$(BIN)/python -m pytest -m "not slow and not browser"

coverage: $(VENV)/installed
	rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage json --quiet
	$(BIN)/coverage report --skip-covered

lint: $(VENV)/installed
	$(BIN)/ruff check src tests audit faults benchmarks notebooks
	$(BIN)/ruff format --check src tests audit faults benchmarks notebooks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src --no-ansi

format: $(VENV)/installed
	$(BIN)/ruff check --fix src tests audit faults benchmarks
	$(BIN)/ruff format src tests audit faults benchmarks

# Each goes on after a fault, so that the page has all.
faults: $(VENV)/installed
	-$(BIN)/python faults/images.py
	-$(BIN)/python faults/inputs.py
	-$(BIN)/python faults/kills.py
	-$(BIN)/python faults/flips.py
	-$(BIN)/python faults/disks.py
	-$(BIN)/python faults/leaks.py
	-$(BIN)/python faults/soak.py
	$(BIN)/python faults/write.py

bench: export OMP_NUM_THREADS := 1
bench: $(VENV)/installed
	mkdir -p build
	$(BIN)/python -m pytest benchmarks -n 0 --benchmark-columns=min,rounds --benchmark-json=build/benchmark.json
	$(BIN)/python benchmarks/report.py build/benchmark.json

docs: export RUN_NOTEBOOKS = true
docs: export MIRAM_PROJECT = $(CURDIR)
docs: export MIRAM_DATA_ROOT = $(CURDIR)/build/study
docs: $(VENV)/installed build/study/08_reporting/report.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

build/study/08_reporting/report.html: | $(VENV)/installed
	$(BIN)/kedro run --env test --params data_root=build/study

# In an environment of their own: what they need is not what miram needs.
build/tools/installed: audit/requirements.txt
	test -x build/tools/bin/python || $(PYTHON) -m venv build/tools
	build/tools/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

audit: $(VENV)/installed build/tools/installed
	$(BIN)/python audit/audit.py --tools build/tools/bin

mutants: $(VENV)/installed
	$(PIP) mutmut==3.8.1
	$(BIN)/python faults/mutants.py

# nox --session "tests-3.12(newest)" runs one of them; 7 GB each under build/nox.
matrix: build/tools/installed
	build/tools/bin/nox

ui: $(VENV)/installed
	$(BIN)/miram ui $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
