# What a user and CI run; everything happens in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo docs figures notebooks test test-slow test-all lint benchmark tables
.PHONY: torture fuzz mutate

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: install
	$(BIN)/sysid train configs/quickstart.yaml

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

test: install
	$(PYTEST) --doctest-modules --cov -m "not slow"

# What takes minutes: several processes, killed workers. The notebooks have a command of their own.
test-slow: install
	$(PYTEST) -m slow --ignore=tests/test_notebooks.py

test-all: test test-slow
	$(BIN)/python notebooks/execute.py --check

# Executes the notebooks from their scripts, holds them to figures.yaml, and writes the .ipynb files.
notebooks: install
	$(BIN)/python notebooks/execute.py

# The manual, into site/: strictly, and every link is looked at.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python manual/check_links.py site README.md CONTRIBUTING.md

# The figures of README and manual.
figures: install
	$(BIN)/python manual/figures.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict sysid
	$(BIN)/lint-imports

# Each prints its figures with their limits; rivals take part where they are installed.
# What they print goes into docs/performance.md.
benchmark: install
	$(BIN)/python benchmarks/write_page.py

# The public tables, three seeds of each recipe: half an hour or so. Goes on where it was stopped.
tables: install
	$(BIN)/sysid benchmark --out runs/benchmark
	cp runs/benchmark/benchmarks.md docs/benchmarks.md

# Kills, full disks and twenty trainings at once; an hour or so.
torture: install
	$(BIN)/python tests/torture/kill_resume.py --rounds 40
	$(BIN)/python tests/torture/kill_resume.py --rounds 10 --signal TERM
	$(BIN)/python tests/torture/kill_resume.py --rounds 10 --signal INT
	$(BIN)/python tests/torture/disk_full.py --rounds 10
	$(BIN)/python tests/torture/together.py --runs 200

# Ten minutes for each reader and the config: make fuzz SECONDS=60 for less.
SECONDS ?= 600
fuzz: .venv/torture
	OMP_NUM_THREADS=1 $(BIN)/python tests/torture/fuzz.py --seconds $(SECONDS)

# All mutants of metrics and losses, a sample of those of data: make mutate SAMPLE=0 for all, hours.
SAMPLE ?= 250
SEED ?= 0
mutate: .venv/torture
	OMP_NUM_THREADS=1 $(BIN)/python tests/torture/mutate.py --sample $(SAMPLE) --seed $(SEED)

.venv/torture: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[torture]"
	touch $@
