# The everyday commands. `make demo` and `make test` set up all that they need on a fresh machine.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Tests start hundreds of programs. Without bytecode, each of them would compile its modules again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SBOM := $(VENV)/sbom
WORKERS ?= 3
# GROUPED keeps the tests that share a sandbox on one worker. SPREAD balances tests that share nothing.
GROUPED := -n $(WORKERS) --dist loadgroup
SPREAD := -n $(WORKERS) --dist worksteal
BENCHMARKS := start judgement watching waves due bursts silent traffic slowed
CHECKED := start judgement bursts silent

.PHONY: help install tools fmt record docs manifests check quick cov unit laws component programs integration e2e kueue matrix program pythons test demo sandbox lock wheel image sbom bench bench-check clean

help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(READY) ## create .venv with the pinned packages (other verbs do so when needed)

$(READY): requirements-dev.txt pyproject.toml
	@echo "installing the packages of requirements-dev.txt in $(VENV) (1 to 2 minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# A separate environment: in .venv its packages would make each start of raysweep three seconds slower.
$(SBOM)/.ready: requirements-sbom.txt $(READY)
	@$(PYTHON) -m venv $(SBOM)
	@$(SBOM)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-sbom.txt
	@touch $@

tools: $(READY) ## put promtool and prometheus into .venv if the machine lacks them (Debian)
	@tests/tools.sh

fmt: $(READY) ## format the code and apply ruff's fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(READY) ## format, lint, types (code and tests), import directions, Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

quick: check ## check, unit and component tests: what to run before each commit (2 minutes)
	$(BIN)/python -m pytest -q $(SPREAD) tests/unit tests/component

unit: $(READY) ## tests of the pure core: tables of decisions and Hypothesis laws
	$(BIN)/python -m pytest tests/unit

laws: $(READY) ## the Hypothesis laws with thousands of new examples each
	$(BIN)/python -m pytest -n $(WORKERS) tests/unit --hypothesis-profile=search --timeout 3000

component: $(READY) ## tests of one part at a time: clients, queues, command line, documents
	$(BIN)/python -m pytest $(SPREAD) tests/component tests/docs

program: $(READY) ## tests of the installed program as a process, at a terminal and in pipes
	$(BIN)/python -m pytest $(SPREAD) tests/program

programs: $(READY) ## build what tests run: etcd, Kubernetes, KubeRay, Helm, Kueue (once, 17 minutes)
	@$(BIN)/python -m sandbox build --tests

integration: tools programs ## tests of the operator under its own RBAC rules on a real API server
	$(BIN)/python -m pytest $(GROUPED) tests/integration

e2e: $(SBOM)/.ready programs ## tests with real jobs on real Ray heads and the installed program
	$(BIN)/python -m pytest tests/e2e

kueue: programs ## tests with the real Kueue: RayJobs that wait, are preempted and refused
	$(BIN)/python -m pytest tests/kueue

matrix: programs ## tests of KubeRay on other versions of KubeRay, Ray and Kubernetes (an hour)
	$(BIN)/python -m tests.matrix

cov: $(READY) ## unit and component tests with branch coverage of the package; fails below the floor
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q $(SPREAD) tests/unit tests/component
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --sort=cover

pythons: $(READY) ## unit and component tests on the newest other Python of this machine
	@tests/pythons.sh

test: check tools programs $(SBOM)/.ready pythons cov ## all tests and bench-check, as CI runs them
	$(BIN)/python -m pytest $(GROUPED) tests/docs tests/program tests/sandbox tests/integration tests/e2e tests/kueue
	$(MAKE) bench-check

demo: $(READY) ## run three real jobs on real Ray heads and watch Raysweep delete them
	$(BIN)/python -m sandbox.demo

sandbox: $(READY) ## run a real cluster on loopback until Ctrl-C
	$(BIN)/python -m sandbox up

bench: programs ## measure everything and write docs/assets/benchmarks; fails if a goal is missed
	@failed=0; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name --write || failed=1; done; \
	$(BIN)/python -m benchmarks.isolation || failed=1; exit $$failed

bench-check: programs ## run short benchmarks; fails if a ratio is much worse than its bound (5 minutes)
	@failed=0; for name in $(CHECKED); do $(BIN)/python -m benchmarks.$$name --check || failed=1; done; exit $$failed

record: $(READY) ## run the demo and record its terminal as docs/assets/demo.svg
	$(BIN)/python docs/record.py

docs: $(READY) ## write the pages that are generated from the code
	$(BIN)/python docs/generate.py

manifests: $(READY) ## write deploy/manifests, deploy/admission and generated parts of the chart
	$(BIN)/python -m deploy.render

lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra dev pyproject.toml -o requirements-dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header -c requirements-dev.txt --extra operator pyproject.toml -o requirements.txt
	echo 'cyclonedx-bom>=7' | uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header - -o requirements-sbom.txt
	echo hatchling | uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header -c requirements-dev.txt - -o requirements-build.txt

wheel: $(READY) ## build the wheel in dist/: the kubectl plugin, with the extra [operator] the operator
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

image: $(READY) ## build the container image; print its size and start time (BASE_IMAGE names the base)
	$(BIN)/python -m sandbox.image $(if $(BASE_IMAGE),--base $(BASE_IMAGE))

sbom: $(SBOM)/.ready ## write build/raysweep.cdx.json: the Python packages in the image (CycloneDX)
	@mkdir -p build
	$(SBOM)/bin/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --short-PURLs --output-reproducible --of JSON -o build/raysweep.cdx.json

clean: ## remove what the other verbs created in this folder
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
