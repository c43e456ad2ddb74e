# What a user and CI run; everything happens in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test lint benchmark

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: install
	$(BIN)/sysid train configs/quickstart.yaml

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal --doctest-modules --cov

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict sysid
	$(BIN)/lint-imports

benchmark: install
	$(BIN)/python benchmarks/trainer_overhead.py
