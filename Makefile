# The everyday commands, one name each. `make demo` and `make test` set up all they need on a fresh machine.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SBOM := $(VENV)/sbom
WORKERS ?= 2

.PHONY: help install tools fmt docs manifests check unit laws component integration e2e pythons test demo sandbox lock wheel image sbom bench clean

help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(READY) ## make .venv with the pinned packages (the other verbs do it by themselves)

$(READY): requirements-dev.txt pyproject.toml
	@echo "setting up $(VENV): the packages pinned in requirements-dev.txt, a minute or two"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# A place of its own: what it brings along makes every start of our own program three seconds slower (docs/decisions/0002).
$(SBOM)/.ready: requirements-sbom.txt $(READY)
	@$(PYTHON) -m venv $(SBOM)
	@$(SBOM)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-sbom.txt
	@touch $@

tools: $(READY) ## put promtool and prometheus into .venv, where the machine lacks them (Debian)
	@tests/tools.sh

fmt: $(READY) ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(READY) ## format, lint, types (code and tests), import directions, Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

unit: $(READY) ## the pure core: tables of sentences and Hypothesis laws
	$(BIN)/python -m pytest tests/unit

laws: $(READY) ## the Hypothesis laws with thousands of new examples each
	$(BIN)/python -m pytest -n $(WORKERS) tests/unit --hypothesis-profile=search --timeout 3000

component: $(READY) ## one part at a time: clients, schedule, pace, command line, documents
	$(BIN)/python -m pytest tests/component tests/docs

integration: tools ## the operator under its own RBAC rules against a real API server
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup tests/integration

e2e: $(SBOM)/.ready ## real jobs on real Ray heads, the installed program as a process
	$(BIN)/python -m pytest tests/e2e

pythons: tools ## unit, component and docs tests on every other supported Python that this machine has
	@tests/pythons.sh

test: check tools $(SBOM)/.ready pythons ## everything, as CI runs it
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

demo: $(READY) ## three real jobs on real Ray heads, cleaned up before your eyes
	$(BIN)/python -m sandbox.demo

sandbox: $(READY) ## a real cluster on loopback, until Ctrl-C
	$(BIN)/python -m sandbox up

bench: $(READY) ## isolation between tenants and the time of 100,000 judgements; fails if one is over its bound
	$(BIN)/python -m benchmarks.isolation
	$(BIN)/python -m benchmarks.judgement

docs: $(READY) ## write the pages that are made from the code
	$(BIN)/python docs/generate.py

manifests: $(READY) ## write deploy/manifests, deploy/admission and parts of the chart from the chart and the code
	$(BIN)/python -m deploy.render

lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra dev pyproject.toml -o requirements-dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header -c requirements-dev.txt --extra operator pyproject.toml -o requirements.txt
	echo 'cyclonedx-bom>=7' | uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header - -o requirements-sbom.txt
	echo hatchling | uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header -c requirements-dev.txt - -o requirements-build.txt

wheel: $(READY) ## build dist/raysweep-VERSION-py3-none-any.whl: the kubectl plugin, and with [operator] the operator
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

image: $(READY) ## build the container image and print its size and start time (BASE_IMAGE names the base; without it a stand-in)
	$(BIN)/python -m sandbox.image $(if $(BASE_IMAGE),--base $(BASE_IMAGE))

sbom: $(SBOM)/.ready ## write build/raysweep.cdx.json: what the image holds of Python packages (CycloneDX)
	@mkdir -p build
	$(SBOM)/bin/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --short-PURLs --output-reproducible --of JSON -o build/raysweep.cdx.json

clean: ## remove what the other verbs made in this folder
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
