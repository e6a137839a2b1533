# make run    the environment, then the whole pipeline on the embedded corpus (again: only what changed)
# make test   lint, types, import contracts, the fast tests and the gating slow ones
# make ui     Dagster and MLflow on loopback
PYTHON ?= python3.11
BIN := $(CURDIR)/.venv/bin
STAMP := .venv/.installed
export PATH := $(BIN):$(PATH)
# DeepSpeed's C++ ops are built once, inside the project.
export TORCH_EXTENSIONS_DIR := $(CURDIR)/.torch_extensions
export DAGSTER_HOME := $(CURDIR)/.dagster
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help install run test test-all test-fast lint ui docs clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## the environment in .venv (pip, pinned by constraints.txt) and DeepSpeed's ops

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; name another with PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on -e '.[dev]' -c constraints.txt
	$(BIN)/python -m llm_core.deepspeed_ops
	@mkdir -p .dagster && touch $@

run: $(STAMP) ## the whole pipeline; ends with a summary and where to look
	@test -d .dvc || dvc init -q $$(git rev-parse --git-dir >/dev/null 2>&1 || echo --no-scm)
	dvc --wait-for-lock repro
	@llm-core summary

ui: $(STAMP) ## Dagster and MLflow on loopback, until Ctrl-C
	python -m pipelines.ui

lint: $(STAMP) ## ruff, mypy and the import contracts
	ruff format --check .
	ruff check .
	mypy
	lint-imports

test: lint ## lint, the fast tests, and the slow ones that gate a change (the whole graph, resume, ZeRO, lineage, live servers)
	pytest -m 'not slow' -n 2 --dist loadfile
	pytest -m slow -n 2 --dist loadfile tests/test_graph.py tests/test_takedown_graph.py tests/llm_core/pretraining tests/llm_core/lineage tests/pipelines

test-all: test ## every slow test too: finetuning methods, peers of evaluation and cleaning
	pytest -m slow

test-fast: $(STAMP) ## the fast tests alone
	pytest -m 'not slow' -n 2 --dist loadfile

docs: $(STAMP) ## the documentation as a site in site/, warnings as errors
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "open site/index.html"

clean: ## remove the environment, caches and every stage's output (DVC's cache stays)
	rm -rf .venv .torch_extensions .scratch .dagster .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	find data -mindepth 1 ! -name README.md -delete
