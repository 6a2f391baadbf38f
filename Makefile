# Each target sets itself up: a virtual environment from the lock, then the job.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Nothing here asks a model hub for anything.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: run test lab check notebooks site engines setup clean

run: $(READY)
	$(BIN)/python scripts/train_grpo.py $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

lab: $(READY)
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Runs every notebook in place, as the tests will, and exports the scripts.
notebooks: $(READY)
	VCR1_TEST=1 $(BIN)/jupyter nbconvert --to notebook --inplace --execute --ExecutePreprocessor.record_timing=False notebooks/*.ipynb
	$(BIN)/python -m tools.export_scripts

# The course as pages, from the notebooks as they are stored.
site: $(READY)
	$(BIN)/python -m tools.build_site build/site

# lmms-eval wants an older PyAV, ms-swift and vLLM an older transformers, vLLM torch for a CPU: each
# has an environment of its own. vLLM's server answers a run that is in the library's.
ENGINES := benchmarks/engines/lmms_eval benchmarks/engines/ms_swift benchmarks/engines/vllm

engines: $(ENGINES:=/.venv/.ready)
	for engine in $(ENGINES); do $$engine/.venv/bin/python $$engine/run.py $(ARGS) || exit 1; done

# Its package also asks for two others that it does without; its trainer is the library's.
benchmarks/engines/vllm/.venv/.ready: LOCKED := --no-deps
benchmarks/engines/vllm/.venv/.ready: $(READY)

benchmarks/engines/%/.venv/.ready: benchmarks/engines/%/requirements.lock
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(LOCKED) -r $<
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f'Python 3.11 or newer is needed, {sys.executable} is {v.major}.{v.minor}; try: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV): 3.5 GB to download, once."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(READY)

clean:
	rm -rf $(VENV)
