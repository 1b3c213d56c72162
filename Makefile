# Everything a person or a machine does with this checkout. Each target makes `.venv` itself, from a bare
# Python >= 3.11, and installs only what the locks in requirements/ name; a second run finds it ready.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
# What locks the dependencies; in an environment of its own, for it is no part of the project.
LOCKER := uv==0.13.9
LOCK_ENVIRONMENT := .venv-lock
IMAGE ?= onward:dev
# Words to add to a target's command: make test ARGS="-k rtrl", make demo ARGS="--help".
ARGS ?=
# Tests run in as many processes as there are cores, shared out by tests/parallel.py; PARALLEL= runs them in one.
PARALLEL ?= --numprocesses auto --maxprocesses 8

# `python3.12` may be there and refuse to start (version managers do that), so each is asked, not just found.
define find_python
for candidate in "$${PYTHON:-}" $(BIN)/python python3.13 python3.12 python3.11 python3; do \
	[[ -n $$candidate ]] || continue; \
	if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python="$$candidate"; break; fi; \
done; \
if [[ -z $${python:-} ]]; then \
	echo "onward: no Python 3.11 or newer found; install one, or name it: make $@ PYTHON=/path/to/python3" >&2; exit 1; \
fi
endef
environment = $(find_python); "$$python" requirements/environment.py

.PHONY: help
help: ## Print this
	@awk 'BEGIN {FS = ":.*## "; print "make TARGET [ARGS=...]\n"} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Set everything up and run it: embedded broker, real data, worker, live page
	@$(environment) demo
	@exec $(BIN)/onward demo $(ARGS)

.PHONY: test
test: ## Set everything up and run the tests
	@$(environment) dev
	@exec $(BIN)/python -m pytest $(PARALLEL) $(ARGS)

.PHONY: lint
lint: ## Check the style, the types and the arrows between packages
	@$(environment) dev
	@status=0; for check in "ruff check ." "ruff format --check ." mypy "lint-imports --no-logo --no-cache"; do \
		echo "onward: $$check" >&2; $(BIN)/$$check || status=1; \
	done; exit $$status

.PHONY: format
format: ## Put the code into the one format, and mend what can be mended
	@$(environment) dev
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: bench
bench: ## Run the benchmarks: tables and plots
	@$(environment) dev
	@exec $(BIN)/python -m benchmarks $(ARGS)

# The development lock comes first and constrains the others, so that one version of each package is
# tested and deployed. UPGRADE=1 takes the newest versions; without it only what must change does.
compile = env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(LOCK_ENVIRONMENT)/bin/uv pip compile --quiet --no-config \
	--universal --python-version 3.11 --fork-strategy fewest --generate-hashes --only-binary :all: \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

.PHONY: lock
lock: ## Lock the dependencies with their hashes (UPGRADE=1: to the newest)
	@$(find_python); [[ -x $(LOCK_ENVIRONMENT)/bin/uv ]] || "$$python" -m venv --clear $(LOCK_ENVIRONMENT)
	@$(LOCK_ENVIRONMENT)/bin/python -m pip --disable-pip-version-check --quiet install '$(LOCKER)'
	$(compile) --extra fast --extra demo --extra dev pyproject.toml requirements/build.in -o requirements/dev.lock
	$(compile) -c requirements/dev.lock requirements/build.in -o requirements/build.lock
	$(compile) -c requirements/dev.lock --extra fast pyproject.toml -o requirements/runtime.lock
	$(compile) -c requirements/dev.lock --extra fast --extra demo pyproject.toml -o requirements/demo.lock

.PHONY: image
image: ## Build the container image with docker or buildah (IMAGE=name:tag)
	@exec deploy/build-image.sh $(IMAGE) $(ARGS)

.PHONY: clean
clean: ## Remove the environments, the caches and what was built
	rm -rf .venv .venv.lock $(LOCK_ENVIRONMENT) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .numba_cache
	find models service tests benchmarks requirements -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
