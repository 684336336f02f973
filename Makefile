# Every target bootstraps the environment it needs: python3 (3.11 or newer), make and sh are enough.
# Options of the command behind a target: make test ARGS="-k window"

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench sbom clean

BIN := .venv/bin
ARGS ?=

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## create or bring up to date the virtual environment (.venv)
	@sh tools/setup.sh

demo: setup ## from nothing to recommendation lists on MovieLens-100K through Apache Kafka
	@$(BIN)/headrace demo $(ARGS)

test: setup ## run all tests, on a broker that the test session starts
	@$(BIN)/python -m pytest $(ARGS)

check: setup ## lint, formatting and types: what CI runs beside the tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: setup ## measure the sequencer against its peers, side by side
	@$(BIN)/headrace bench sequencer $(ARGS)

sbom: setup ## write what it is made of into build/sbom.cdx.json (CycloneDX)
	@$(BIN)/python -m tools.project.sbom $(ARGS)

clean: ## stop the local broker, then remove .venv and .headrace (its data too)
	@sh tools/setup.sh --clean
