# `make` alone lists what there is.  Everything runs in .venv, which the targets make themselves.
.DEFAULT_GOAL := help
.PHONY: help up test test-fast test-external coverage mutants check bench format lock openapi

BIN := .venv/bin
OPENAPI := $(BIN)/python manage.py export_openapi_schema --api orchestrator.api.root.api --indent 2
PYTEST := $(BIN)/python -m pytest
ARGS ?=
JOBS ?= 2
# Tests start hundreds of processes; without bytecode each would compile Django and all of ours anew.
unexport PYTHONDONTWRITEBYTECODE
# Each process has servers and a system of its own, and mostly waits.  What ARGS chooses runs in one.
PARALLEL = $(if $(ARGS),,-n $(JOBS) --dist worksteal)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo "  PYTHON=… chooses the Python of .venv; PORT, HOST, DATA_DIR, DATABASE_URL, BROKER_URL, CHANNELS_URL where things run;"
	@echo "  ARGS=… goes to pytest or to the benchmark; JOBS=… is how many processes share all tests (2)."

up: ## Install and start the whole system; Ctrl-C stops it
	@requirements/install base
	@exec $(BIN)/python -m orchestrator.embedded

test: ## Run all tests, with coverage (ARGS="-k name" for some of them)
	@requirements/install dev
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest $(PARALLEL) $(if $(filter no,$(EXTERNAL)),-m "not external") $(ARGS)
	@$(if $(ARGS),,$(MAKE) --no-print-directory coverage)

coverage:
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --fail-under=95
	@$(BIN)/coverage report --include='orchestrator/domain/*,orchestrator/store/*' --fail-under=100

test-fast: ## Run the quick tests: no system, no browser, no walks (about a minute)
	@requirements/install dev
	@$(PYTEST) -q $(PARALLEL) \
	  -m "not system and not external and not acceptance and not browser and not thorough" $(ARGS)

test-external: ## Run the tests on this machine's PostgreSQL and EXTERNAL_BROKER_URL (Redis)
	@requirements/install dev
	@$(PYTEST) -m external $(ARGS)

mutants: ## Plant known bugs in the engine's statements: the semantic tests must find each
	@requirements/install dev
	@$(BIN)/python -m tests.mutants

check: ## Run every check that is not a test: format, lint, types, layers, migrations, deployment, OpenAPI
	@requirements/install dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/djlint --lint --quiet templates
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@# It asks the database how far it is, and here none need run.
	$(BIN)/python -W "ignore:Got an error checking a consistent" manage.py makemigrations --check --dry-run
	@SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') \
	  BEHIND_TLS_PROXY=true ALLOWED_HOSTS=millrace.example DEBUG=false \
	  $(BIN)/python manage.py check --deploy --fail-level WARNING
	@mkdir -p .data && $(OPENAPI) --output .data/openapi.json
	@cmp .data/openapi.json docs/openapi.json || { echo "docs/openapi.json is out of date: run \`make openapi\`."; exit 1; }

bench: ## Measure against the budgets; writes bench-results/*.json
	@requirements/install dev
	@$(BIN)/python -m tests.benchmarks $(ARGS)

format: ## Format the Python
	@requirements/install dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

openapi: ## Write docs/openapi.json anew
	@requirements/install dev
	$(OPENAPI) --output docs/openapi.json

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header

lock: ## Resolve requirements/*.in into locked files with hashes (ARGS=--upgrade for newer versions)
	@requirements/install base
	cd requirements && for set in tools base s3 otel dev; do ../$(LOCK) $(ARGS) $$set.in -o $$set.txt || exit 1; done
