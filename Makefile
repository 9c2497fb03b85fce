# The targets of this file are the only commands that anyone has to know.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A Python that starts here must not take our folder array/ for the standard library's module of that name.
export PYTHONSAFEPATH := 1
# Tests start many processes, each of which would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help compare train bench gpu test test-long docs fuzz mutants check format clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1: \2/p' $(MAKEFILE_LIST)

compare: $(VENV)/.installed ## run the examples eager and compiled, and compare results and times
	$(BIN)/blockfuse compare

train: $(VENV)/.installed-train ## train a net to tell digits apart, in less than a minute
	PYTHONPATH=examples $(BIN)/python examples/digits.py

# PyTensor asks for an older Numba than ours, so it has an environment of its own.
$(VENV)-pytensor: | $(BIN)/pip
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --disable-pip-version-check "pytensor>=3.0"

$(VENV)-peers: pyproject.toml
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --disable-pip-version-check --editable '.[peers]'

bench: $(VENV)/.installed-bench | $(VENV)-pytensor ## measure against peers and the machine, about 20 minutes; OPTIONS="--quick" for a part
	PYTHONPATH=src $(BIN)/python -m benchmarks $(OPTIONS)

gpu: $(VENV)/.installed-test ## check and measure on a CUDA device; OPTIONS="--json FILE --plot FILE"
	PYTHONPATH=src $(BIN)/python -m benchmarks.gpu_check $(OPTIONS)

# Several processes: each starts with a stretch of the tests, and who is done takes half of what is left of another's.
PARALLEL := --numprocesses=auto --maxprocesses=8 --dist=worksteal

test: $(VENV)/.installed-test ## run the tests, but those of test-long
	$(BIN)/pytest $(PARALLEL)

test-long: $(VENV)/.installed-test $(VENV)/.installed-docs ## run the tests that take long by nature, and all cases of those of which some run in test
	$(BIN)/pytest $(PARALLEL) -m "long or sampled" --all-examples

# Each backend of Keras in a process of its own: it is chosen when Keras is imported.
test-peers: | $(VENV)-peers ## run the tests with torch, JAX, Keras, TensorFlow and ONNX Runtime, in an environment of their own
	$(VENV)-peers/bin/pytest $(PARALLEL) --ignore-glob="*/test_keras*.py"
	$(VENV)-peers/bin/pytest tests/frontends -m "long" --ignore-glob="*/test_keras*.py"
	for backend in numpy torch jax; do \
		KERAS_BACKEND=$$backend $(VENV)-peers/bin/pytest tests/frontends/test_keras.py -m "long or not long" || exit 1; \
	done
	KERAS_BACKEND=tensorflow $(VENV)-peers/bin/pytest tests/frontends/test_keras_tensorflow.py -m "long or not long"

docs: $(VENV)/.installed-docs ## make the documentation site, build/site/index.html; a warning is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --jobs=auto --conf-dir=docs --doctree-dir=build/doctrees . build/site \
		|| { rm -rf build/doctrees; exit 1; } # pages that are not read again would not warn again

fuzz: $(VENV)/.installed-test ## run random programs, new ones each time, for 10 minutes or MINUTES=...
	PYTHONPATH=src:tests/support $(BIN)/python tests/support/graph_fuzz.py --minutes $(or $(MINUTES),10) & graphs=$$!; \
	$(BIN)/pytest tests/runtime/test_fuzz.py tests/runtime/test_fuzz_training.py --fuzz-minutes=$(or $(MINUTES),10); edits=$$?; \
	wait $$graphs && exit $$edits

# What judges mutants, in one process: each test runs once before, to learn what it comes to.
JUDGES := accuracy aliasing batches cuda_products drawing emitter flow functions gathers goldens granularity graph_text hybridize isa joins \
	kernels layers layouts meaning nontemporal operators passes picking products raising batch_items schedule strips sweeps threads verify

mutants: $(VENV)/.installed-test ## break the code generator N=240 times and say which test notices, an hour or two; OPTIONS="..."
	$(BIN)/pytest $(wildcard $(JUDGES:%=tests/*/test_%.py)) --mutants=$(or $(N),240) --mutants-jobs=2 --all-examples $(OPTIONS)

check: $(VENV)/.installed-check ## formatting, lint and types, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-check ## format and repair what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what the targets wrote, except the environment .venv
	rm -rf build dist docs/reference *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Each stamp says that the package and the extra it names are installed as pyproject.toml describes them.
$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-%: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
