# Every target creates the environment that it needs; python3 (3.11 or newer), make and sh do.
# ARGS goes to the command behind a target: make test-fast ARGS="-k window"

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-long check bench sbom vendor clean

# Without bytecode on the disk, each process that tests and demo start would compile PyTorch anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
ARGS ?=
# One worker per core where tests compute; more where they wait for a broker most of the time.
PYTEST := $(BIN)/python -m pytest --dist loadgroup --no-loadscope-reorder

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## create or bring up to date the virtual environment (.venv)
	@sh tools/project/setup.sh

demo: setup ## from nothing to recommendation lists on MovieLens-100K through Apache Kafka
	@$(BIN)/headrace demo $(ARGS)

test: setup ## run the tests that are not long, on a broker that they start (8 minutes on 2 cores)
	@$(PYTEST) -n 4 -m "not long" $(ARGS)

test-fast: setup ## run unit, property and contract tests: no broker, no PyTorch model (a minute)
	@$(PYTEST) -n 2 -m "not (kafka or model or long)" tests/unit tests/property tests/contract $(ARGS)

test-long: setup ## run the long tests: drills, rebuilds, hostile files, the recipes of the documents
	@$(PYTEST) -n 3 -m long $(ARGS)

check: setup ## lint, formatting and types: what CI runs beside the tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: setup ## measure the sequencer against its peers, side by side
	@$(BIN)/headrace bench sequencer $(ARGS)

sbom: setup ## write the list of all components into build/sbom.cdx.json (CycloneDX)
	@$(BIN)/python -m tools.project.sbom $(ARGS)

vendor: setup ## copy the page's JavaScript libraries from their locked npm packages (needs npm)
	@$(BIN)/python -m tools.project.vendor

clean: ## stop the local broker, then remove .venv and .headrace (its data too)
	@sh tools/project/setup.sh --clean
