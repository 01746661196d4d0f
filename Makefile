# Two commands do everything on a machine that has Python 3.11 or newer and make:
#   make demo   set up, then grow a small model on embedded text and leave a report
#   make test   set up, then run the tests
# `make check` is what a change must pass; `make format` puts the code into shape.

PYTHON ?= python3
BIN := .venv/bin
RUNTIME := .venv/.runtime
DEVELOPMENT := .venv/.development
# Two workers with one thread each use two cores better than one worker with two threads. Each begins with a half, so
# what the tests of a module share is made once, and whoever is done takes over from the other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=2 --dist=worksteal

# Ratios of the search to its rivals, on one thread; the first run trains a base. ONLY=prefix runs one group.
bench-search: $(DEVELOPMENT)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.search $(foreach group,$(ONLY),--only $(group))

# The DRM backbone against the direct evaluation and a plain GPT, on one thread. ONLY=speed runs one group.
bench-drm: $(DEVELOPMENT)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.drm $(foreach group,$(ONLY),--only $(group))

# A stage of growth by layers against its parts and against training everything, on one thread: a minute.
bench-layerwise: $(DEVELOPMENT)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.layerwise

# Training on one GPU, DRM and GPT, eager and compiled: under ten minutes. Says so where there is none.
bench-gpu: $(DEVELOPMENT)
	$(BIN)/python -m benchmarks.gpu

# Error rates, attacks, documents needed and time of the gates, and real grafts, on one thread. ONLY=null runs one group.
bench-gates: $(DEVELOPMENT)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.gates $(foreach group,$(ONLY),--only $(group))

# Kills, power loss, failing disks, many writers, flips, hostile files and speed of a registry: 2 to 5 minutes. ONLY=power: one group.
test-registry: $(DEVELOPMENT)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.registry $(foreach group,$(ONLY),--only $(group))

# Growth with worker processes: speed, overhead, memory, and kills. Wants two quiet cores. ONLY=speed runs one group.
bench-distributed: $(DEVELOPMENT)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.distributed $(foreach group,$(ONLY),--only $(group))

.PHONY: bench-distributed bench-drm bench-gates bench-gpu bench-layerwise bench-search test-registry demo test check format lint types contracts clean
.DEFAULT_GOAL := check

demo: $(RUNTIME)
	$(BIN)/saint demo

test: $(DEVELOPMENT)
	$(PYTEST) -m "not slow and not gpu and not network and not by_hand"

check: lint types contracts
	$(PYTEST) -m "not gpu and not network and not by_hand"

lint: $(DEVELOPMENT)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEVELOPMENT)
	$(BIN)/mypy

contracts: $(DEVELOPMENT)
	$(BIN)/lint-imports

format: $(DEVELOPMENT)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "saint-g needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1); run make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv

$(RUNTIME): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(DEVELOPMENT): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[data,exports,peft,quant,ray,remotes,tensorboard,dev]"
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
