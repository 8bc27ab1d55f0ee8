# Everything a newcomer needs: `make demo`, `make test`. All of it works from an empty clone.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; raise SystemExit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
	2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.complete
DEMO := runs/demo

.PHONY: help setup demo test test-all fuzz check scan format schema bench-speed lock clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## make .venv with a working .venv/bin/driftline

$(STAMP): requirements.lock pyproject.toml setup.sh
	@PYTHON="$(PYTHON)" sh setup.sh

demo: setup ## run a drift scenario on real data
	@rm -rf $(DEMO)
	$(BIN)/driftline run scenarios/elec2_heatwave.yaml --out $(DEMO)
	@echo "Next: $(BIN)/driftline show $(DEMO); other scenarios are in scenarios/*.yaml"

test: setup ## all tests but the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow"

test-all: setup ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

fuzz: setup ## random faults until Ctrl-C or a failure; SEEDS=0-199 for these only
	$(BIN)/python -m tests.simulation --jobs 2 $(if $(SEEDS),--seeds $(SEEDS))

check: setup ## lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m engine.leaks

scan: setup ## look for secrets in tracked files
	$(BIN)/python -m engine.leaks

format: setup ## put the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

schema: setup ## write the JSON Schemas that editors use
	$(BIN)/python -m scenarios.schema
	$(BIN)/python -m benchmarks.schema
	$(BIN)/python -m engine.news.schema
	$(BIN)/python -m engine.schemas

bench-speed: setup ## measure the engine beside its peers; ARGS=--quick to try it
	$(BIN)/python -m benchmarks.speed $(ARGS)

lock: ## renew requirements.lock from pyproject.toml (needs uv)
	uv lock && uv export --no-hashes --no-emit-project --no-annotate --no-header --all-groups --extra fast \
		-q -o requirements.lock
	uv export --no-hashes --no-emit-project --no-annotate --no-header --no-dev --extra fast \
		-q | grep -v '^torch==' > requirements.image.lock && rm uv.lock

clean: ## remove what the commands above made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache *.egg-info build $(DEMO)
