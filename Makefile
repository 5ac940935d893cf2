# Everything a newcomer needs: `make detect IMAGES=folder`. `make help` lists the rest.

PYTHON ?= python3
IMAGES ?= samples/
OUT ?= out
export IMAGES OUT
PY := .venv/bin/python
# pip would compile the modules on one core; a module that cannot be compiled is one that nothing imports.
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile
COMPILE := $(PY) -m compileall -qq -j 0 .venv/lib || true
PIN := .venv/bin/uv pip compile -q --python-version 3.11.0 --no-emit-index-url --no-annotate --no-header
# A script's functions may stand in a library of another file: tests/unit/workers/io/test_scripts.py checks the names.
LUACHECK := luacheck -q --no-config --std lua51 --no-global --no-unused --max-line-length 130
BIOME := npx --yes @biomejs/biome@2.6.8 lint --error-on-warnings
PYTEST := $(PY) -m pytest -n auto -q

.DEFAULT_GOAL := help
.PHONY: help detect up test test-all coverage lint types bench requirements protos openapi settings clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

detect: .venv/.installed ## Detect the objects in IMAGES (default samples/), into OUT (default out/)
	@.venv/bin/shelfline detect --out "$$OUT" -- "$$IMAGES"

up: .venv/.installed ## Run the whole stack in the foreground; Ctrl-C ends it
	@.venv/bin/shelfline up || { status=$$?; [ $$status -eq 130 ] || exit $$status; }

test: .venv/.installed-dev ## Run all tests except those that start and kill processes of their own
	@$(PYTEST) -m "not process" $(if $(COVERAGE),--cov --cov-report= --cov-fail-under=0)

test-all: test ## Run every test: `make test`, then the others, and the random ones with a new seed
	@seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; \
		echo "The seed of the random tests is $$seed; to repeat it: make test-all SEED=$$seed"; \
		$(PYTEST) -m "process or hypothesis" --hypothesis-profile=random --hypothesis-seed=$$seed

coverage: .venv/.installed-dev ## Print what `make test COVERAGE=1` reached of the code
	@$(PY) -m coverage report

lint: .venv/.installed-dev ## Check style and format; the Lua scripts with luacheck and the page with biome, if they are there
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@if command -v luacheck >/dev/null; then $(LUACHECK) workers/io/scripts; else echo "luacheck is not installed: Lua is not checked"; fi
	@if command -v npx >/dev/null; then $(BIOME) api/page/*.js; else echo "Node.js is not installed: JavaScript is not checked"; fi

types: .venv/.installed-dev ## Check types
	@.venv/bin/mypy

bench: .venv/.installed-dev ## Measure the whole chain against the model in process
	@$(PY) -m tests.bench.throughput
	@$(PY) -m tests.bench.queue
	@$(PY) -m tests.bench.lanes
	@$(PY) -m tests.bench.bulk
	@$(PY) -m tests.bench.command_kills
	@$(PY) -m tests.bench.pools
	@$(PY) -m tests.bench.faults
	@$(PY) -m tests.bench.tiles
	@$(PY) -m tests.bench.detect_latency
	@$(PY) -m tests.bench.robot
	@$(PY) -m tests.bench.export
	@$(PY) -m tests.bench.exported_models
	@$(PY) -m tests.bench.model_server
	@$(PY) -m tests.bench.submits
	@$(PY) -m tests.bench.slow_clients
	@$(PY) -m tests.bench.large_json
	@$(PY) -m tests.bench.results
	@$(PY) -m tests.bench.webhooks

requirements: .venv/.installed-dev ## Pin what the requirements*.in ask for
	@$(PIN) requirements.in requirements-full.in -o requirements-full.txt
	@$(PIN) -c requirements-full.txt requirements.in -o requirements.txt
	@$(PIN) --no-build-isolation -c requirements-full.txt --extra onnx pyproject.toml -o requirements-onnx.txt
	@$(PIN) requirements-dev.in -o requirements-dev.txt

protos: .venv/.installed-dev ## Write serving/wire/protos.binpb from the installed tensorflow-serving-api
	@$(PY) -m serving.wire.make_protos

openapi: .venv/.installed-dev ## Write docs/openapi.json from the routes
	@$(PY) -m api.commands.make_openapi

settings: .venv/.installed-dev ## Write docs/settings.md and .env.example from the settings
	@$(PY) -m api.commands.make_settings

clean: ## Remove what was built and written here: .venv, models, state, results
	rm -rf .venv models var out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Shelfline needs Python 3.11 or newer: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "This Python cannot make virtual environments: install its venv package (apt-get install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.installed: requirements-full.txt pyproject.toml | .venv/bin/python
	@echo "Installing what Shelfline runs on into .venv: this takes about two minutes, once."
	@$(PIP) -r requirements-full.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(COMPILE)
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	@echo "Installing what the tests and checks need into .venv."
	@$(PIP) -r requirements-dev.txt
	@$(COMPILE)
	@touch $@
