# make run    the environment, then the whole pipeline on the embedded corpus (again: only what changed)
# make test   lint, types, import contracts, and every test
# make check  the inner loop: lint, types and the fastest tests, in under a minute
# make ui     Dagster and MLflow on loopback
#
# Paths are relative to this folder, whose own path may hold blanks and any letters.
PYTHON ?= python3.11
ENVIRONMENT := .venv
ifneq ($(words $(CURDIR)),1)
# A linker's flags cannot name a path with a blank, so there the environment is used by a link to it without one.
ENVIRONMENT := $(HOME)/.cache/llm_core/environments/$(firstword $(shell printf %s "$(CURDIR)" | cksum))
endif
BIN := $(ENVIRONMENT)/bin
INSTALLED := .venv/.installed
INSTALLED_DEV := .venv/.installed-dev
PACKAGES_DEV := .venv/.packages-dev
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on -c constraints.txt
unexport PYTHONDONTWRITEBYTECODE
ifeq ($(ENVIRONMENT),.venv)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# DeepSpeed's C++ ops are built once, inside the project.
export TORCH_EXTENSIONS_DIR := $(CURDIR)/.torch_extensions
else
export PATH := $(BIN):$(PATH)
endif
export DAGSTER_HOME := $(CURDIR)/.dagster
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help install run ui check lint test test-fast test-long check-gpu docs clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED) ## the environment in .venv (pip, pinned by constraints.txt) and DeepSpeed's ops

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { echo "make: $(PYTHON) not found; name another with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv && test -x .venv/bin/python || { echo "make: $(PYTHON) -m venv made no environment in .venv" >&2; exit 1; }
	@test -d $(ENVIRONMENT) || { mkdir -p $(dir $(ENVIRONMENT)) && ln -sfn "$(CURDIR)/.venv" $(ENVIRONMENT); }

# pip compiles 16,500 modules one after the other, which takes more than a minute; compileall uses all cores. They have to
# be compiled: where PYTHONDONTWRITEBYTECODE is set, or the environment is not the user's, every start would compile torch.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) --no-compile -e '.[all]'
	@$(BIN)/python -m compileall -qq -j 0 $(ENVIRONMENT)/lib || true  # some packages have files that are no Python 3
	$(BIN)/python -m llm_core.training.deepspeed_ops
	$(BIN)/python -m llm_core.runtime.kernels_ahead
	@mkdir -p .dagster && touch $@

# The tests' environment is used at once and thrown away in CI: Python compiles what is imported.
$(PACKAGES_DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) --no-compile -e '.[all,dev]'
	@touch $@

$(INSTALLED_DEV): $(PACKAGES_DEV)
	$(BIN)/python -m llm_core.training.deepspeed_ops
	NUMBA_CACHE_DIR="$(CURDIR)/.pytest_cache/kernels" $(BIN)/python -m llm_core.runtime.kernels_ahead
	@mkdir -p .dagster && touch $(INSTALLED) $@

run: $(INSTALLED) ## the whole pipeline; ends with a summary and where to look
	@git rev-parse --git-dir >/dev/null 2>&1 || dvc config --local core.no_scm true  # a tarball without git
	dvc --wait-for-lock repro
	@llm-core summary

ui: $(INSTALLED) ## Dagster and MLflow on loopback, until Ctrl-C
	python -m pipelines.ui

CHECKED := tests/llm_core/params tests/llm_core/formats tests/llm_core/runtime tests/llm_core/cli
UNCHECKED := tests/llm_core/cli/test_hostile.py tests/llm_core/runtime/test_compilation.py

lint: $(PACKAGES_DEV) ## ruff, mypy, the import contracts, declared and imported packages
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	deptry llm_core pipelines

check: $(INSTALLED_DEV) ## the inner loop: lint, types, and the tests of params, formats, runtime and the command line
	ruff format --check .
	ruff check .
	mypy
	pytest -m 'not slow' -n 2 -x $(CHECKED) $(UNCHECKED:%=--ignore=%)

# By files, which share fixtures; in the order of tests/conftest.py. Slow tests wait for servers half of their time, so
# there are more processes than cores.
# With `make -j2 test` mypy runs while DeepSpeed's ops and numba's kernels are compiled; several processes of tests would
# else compile the same kernels at the same time.
PYTEST := pytest -n 4 --dist loadfile --no-loadscope-reorder

test: lint $(INSTALLED_DEV) ## lint, the modules of fast tests, then those with slow ones
	$(PYTEST) -m 'not long'

test-long: $(INSTALLED_DEV) ## tests that take minutes, or repeat at more cost what make test holds: deploy/ (needs nginx), kills, an ablation
	pytest -m long

test-fast: $(INSTALLED_DEV) ## the fast tests alone
	$(PYTEST) -m 'not slow'

check-gpu: $(INSTALLED) ## what can go wrong on a GPU, in five minutes on one; skipped without
	PYTHONPATH=. python benchmarks/check_gpu.py

docs: $(INSTALLED_DEV) ## the documentation as a site in site/, warnings as errors
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "open site/index.html"

clean: ## remove the environment, caches and every stage's output (DVC's cache stays)
	rm -rf .venv .torch_extensions .scratch .dagster .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info site
	find data -mindepth 1 ! -name README.md -delete
