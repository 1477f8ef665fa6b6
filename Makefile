# All commands of the project. `make` without arguments lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.SUFFIXES:

PYTHON := .venv/bin/python
# Mark which packages .venv has: those of the local stage, which the demo needs, or those of all tools and tests.
STAGE_INSTALLED := .venv/.stage-installed
INSTALLED := .venv/.installed
SCANNER := .local/scanner/.installed
# The directory that `make scan` scans.
SCANNED ?= terraform
SOURCES := functions local tools tests sjm $(wildcard terraform/*.py) $(wildcard bench)
# Most tests wait for something, so more tests than cores run at once (see tests/lanes.py).
TESTS_AT_ONCE ?= 15
PYTEST_AT_ONCE := $(PYTHON) -m pytest -n $(TESTS_AT_ONCE) --dist loadgroup --no-loadscope-reorder \
	--max-worker-restart 0
# Where `make package-python` builds.
PYTHON_PACKAGES ?= build/python
# The parts of `make check`, the longest first. Two run at once.
CHECKS := check-types scan check-terraform check-by-tests check-style
# Further arguments, for example: make test ARGS="-k heartbeat"
ARGS ?=
LOCK := $(PYTHON) -m uv pip compile --quiet --universal --generate-hashes --python-version 3.13 \
	--custom-compile-command "make lock"
# Lambda's Python runtime includes these packages, so the zips leave them out.
IN_THE_RUNTIME := boto3 botocore jmespath python-dateutil s3transfer six urllib3

# Python keeps what it has compiled, even where the environment forbids it: see tests/conftest.py.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test two-stages faults exhaustive life simulate unit up down outputs check scan format package package-python assets browser screenshots bootstrap plan apply destroy
.PHONY: check-types check-terraform check-style check-by-tests upgrade console redrive purge bench lock provider-schema clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

demo: $(STAGE_INSTALLED) assets ## run real jobs on a stage on this machine, print what happens (ARGS=--console shows it in the browser)
	@$(PYTHON) -m local.stage run -- env PYTHONPATH=.:sjm/src $(PYTHON) -m local.demo $(ARGS)

test: $(INSTALLED) assets ## run the tests, unit and integration (ARGS="-k heartbeat" picks some)
	@$(PYTHON) -m local.stage run --early -- $(PYTEST_AT_ONCE) $(ARGS)

two-stages: $(INSTALLED) ## create a second stage beside a local one, change its jobs as code, and destroy it
	@$(PYTHON) -m local.stage run -- $(PYTHON) -m pytest tests/two_stages $(ARGS)

faults: $(INSTALLED) ## make every call of every flow fail in every way, and check what is left
	@EXHAUSTIVE=1 $(PYTHON) -m local.stage run -- $(PYTHON) -m pytest -q -s --show-capture=no \
		tests/integration/test_faults.py $(ARGS)

exhaustive: $(INSTALLED) ## run the tests that try only samples in `make test` with all of their cases
	@EXHAUSTIVE=1 $(PYTHON) -m local.stage run -- $(PYTEST_AT_ONCE) -m samples $(ARGS)

unit: $(INSTALLED) assets ## run the tests that need no stage
	@$(PYTHON) -m pytest tests/unit $(ARGS)

up: $(STAGE_INSTALLED) ## start the local stage and leave it running (PROVIDER=installed: with your own AWS provider)
	@$(PYTHON) -m local.stage up

down: $(STAGE_INSTALLED) ## stop the local stage
	@$(PYTHON) -m local.stage down

outputs: $(STAGE_INSTALLED) ## print the running local stage's URL, keys and topics (ARGS=--all: every output)
	@$(PYTHON) -m local.stage outputs $(ARGS)

check: $(INSTALLED) ## check format, lint, types, imports, state machines, Terraform and its safety (read-only)
	@$(MAKE) -j 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) $(CHECKS)

check-types:
	$(PYTHON) -m mypy $(SOURCES)
	$(PYTHON) -m mypy --python-version 3.11 sjm/src

check-terraform:
	terraform fmt -check -recursive terraform
	$(PYTHON) -m local.terraform_provider validate

check-style:
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m ruff check $(SOURCES)
	PYTHONPATH=functions/_shared .venv/bin/lint-imports --no-cache
	PYTHONPATH=sjm/src .venv/bin/lint-imports --no-cache sjm/pyproject.toml
	$(PYTHON) -m tools.check_state_machines

check-by-tests: $(SCANNER)
	$(PYTHON) -m pytest -q tests/checks

scan: $(SCANNER) ## scan Terraform for unsafe settings
	PYTHONPATH= .local/scanner/bin/python -m tools.scan "$(SCANNED)"

format: $(INSTALLED) ## format Python and Terraform
	$(PYTHON) -m ruff format $(SOURCES)
	$(PYTHON) -m ruff check --fix-only $(SOURCES)
	terraform fmt -recursive terraform

package: $(STAGE_INSTALLED) ## build the functions' zips for Lambda in build/lambda
	@$(PYTHON) -m tools.package $(ARGS)

package-python: $(INSTALLED) assets ## build the Python package, a wheel and an sdist, in build/python
	@rm -rf "$(PYTHON_PACKAGES)"
	@$(PYTHON) -m uv build --quiet --no-config --no-cache --no-create-gitignore --python $(PYTHON) \
		--out-dir "$(PYTHON_PACKAGES)" sjm
	@ls "$(PYTHON_PACKAGES)"

# Every target that packs, shows or tests the console depends on this. It needs a network only once.
assets: $(STAGE_INSTALLED) ## take the console's scripts from the npm registry, if they are not there yet
	@$(PYTHON) -m tools.console_assets

browser: $(INSTALLED) assets ## get what the browser tests need: Chromium and axe-core
	@$(PYTHON) -m tools.console_assets --tests
	@$(PYTHON) -m tools.browser

screenshots: $(INSTALLED) browser ## take the pictures of the console for the docs: make screenshots URL=http://127.0.0.1:…
	@test -n "$(URL)" || { echo "URL is missing. Give what \`sjm console\` printed." >&2; exit 2; }
	@$(PYTHON) -m tools.screenshots "$(URL)" $(ARGS)

bootstrap: stage-given $(INSTALLED) ## create the bucket for a stage's Terraform state: make bootstrap STAGE=dev
	@$(PYTHON) -m tools.bootstrap "$(STAGE)" $(ARGS)

plan: stage-ready package ## show what Terraform would change in a stage: make plan STAGE=dev
	@tools/terraform_stage plan "$(STAGE)" $(ARGS)

apply: stage-ready package ## deploy or update a stage with Terraform: make apply STAGE=dev
	@tools/terraform_stage apply "$(STAGE)" $(ARGS)

destroy: stage-ready package ## delete a stage with its jobs and history: make destroy STAGE=qa
	@tools/terraform_stage destroy "$(STAGE)" $(ARGS)

console: stage-given $(STAGE_INSTALLED) assets ## open the console of a stage in the browser: make console STAGE=dev
	@if [[ "$(STAGE)" == local ]]; then \
		$(PYTHON) -m local.stage use -- env PYTHONPATH=sjm/src $(PYTHON) -m sjm.cli --stage local console $(ARGS); \
	else \
		PYTHONPATH=sjm/src $(PYTHON) -m sjm.cli --stage "$(STAGE)" console $(ARGS); \
	fi

redrive: stage-given $(INSTALLED) ## retry the messages in a stage's dead-letter queues: make redrive STAGE=dev
	$(call with_outputs,$(PYTHON) -m tools.redrive $(ARGS))

purge: stage-given $(INSTALLED) ## delete a stage's old history: make purge STAGE=dev ARGS="--before 2026-01-01 --dry-run"
	$(call with_outputs,env PYTHONPATH=functions/_shared $(PYTHON) -m tools.purge $(ARGS))

# Runs a tool with the stage's Terraform outputs on its standard input.
define with_outputs
	@if [[ "$(STAGE)" == local ]]; then \
		$(PYTHON) -m local.stage use -- bash -c '$(1) < "$$STAGE_OUTPUTS"'; \
	else \
		tools/terraform_stage output "$(STAGE)" -json | $(1); \
	fi
endef

.PHONY: stage-given stage-ready
stage-ready: stage-given # before anything is built
	@tools/terraform_stage check "$(STAGE)" "$(firstword $(MAKECMDGOALS))"

stage-given:
	@test -n "$(STAGE)" || { echo "STAGE is missing. Name a stage, for example: make plan STAGE=dev" >&2; exit 2; }

bench: $(INSTALLED) ## measure what runs, routes and cold starts cost (ARGS=routes picks one)
	@test -d bench || { echo "The folder bench is missing, so there are no benchmarks to run." >&2; exit 2; }
	@PYTHONPATH=functions/_shared:sjm/src $(PYTHON) -m local.stage run -- $(PYTHON) -m bench $(ARGS)

life: $(INSTALLED) ## run random jobs on a stage, then check the results (ARGS="--seconds 600 --seed 7")
	@$(PYTHON) -m local.stage run -- env PYTHONPATH=.:functions/_shared:sjm/src $(PYTHON) -m tests.life $(ARGS)

upgrade: $(INSTALLED) ## update a local stage of the version before, on which executions run, to this version
	@PYTHONPATH=.:functions/_shared:sjm/src $(PYTHON) -m tests.upgrade $(ARGS)

simulate: $(INSTALLED) ## simulate runs of the stage, with faults, by a seed (ARGS="--runs 100000 --jobs 2", ARGS=--mutants)
	@PYTHONPATH=.:functions/_shared $(PYTHON) -m tests.simulation $(ARGS)

lock: $(INSTALLED) ## resolve all requirements into their locks (ARGS=--upgrade takes newer versions)
	$(LOCK) $(ARGS) $(IN_THE_RUNTIME:%=--no-emit-package %) \
		functions/requirements.in -o functions/requirements.txt
	for function in functions/*/requirements.in; do \
		$(LOCK) $(ARGS) -c functions/requirements.txt "$$function" -o "$${function%.in}.txt"; \
	done
	$(LOCK) $(ARGS) requirements/dev.in -o requirements/dev.txt
	$(LOCK) $(ARGS) -c requirements/dev.txt requirements/stage.in -o requirements/stage.txt
	$(LOCK) $(ARGS) requirements/scan.in -o requirements/scan.txt

provider-schema: $(INSTALLED) ## extract the AWS provider's schema of the resources in use
	@$(PYTHON) -m tools.provider_schema

clean: ## stop the local stage, and remove what was built
	@if test -x $(PYTHON) && test -d .local; then $(PYTHON) -m local.stage down; fi
	rm -rf build .local .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(STAGE_INSTALLED): requirements/stage.txt .python-version tools/make_venv
	@tools/make_venv .venv requirements/stage.txt
	@touch $@

# Adds to what the stage needs. Makes all anew if the lock changed, so that nothing is left that it no longer names.
$(INSTALLED): requirements/dev.txt $(STAGE_INSTALLED)
	@tools/make_venv $$(test -e $@ || echo --add) .venv requirements/dev.txt
	@touch $(STAGE_INSTALLED) $@

$(SCANNER): requirements/scan.txt .python-version tools/make_venv
	@tools/make_venv .local/scanner requirements/scan.txt
	@touch $@
