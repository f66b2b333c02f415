# The same as `python3 tasks.py`, for users of make.
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help demo test test-all bench check snapshots mutate

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Generate the demo application and serve it
	$(PYTHON) tasks.py demo

test: ## Install everything and run the tests
	$(PYTHON) tasks.py test

test-all: ## Also run the tests that take minutes each
	$(PYTHON) tasks.py test --all

bench: ## Measure side by side with other servers
	$(PYTHON) tasks.py bench

check: ## Only check lint, formats, types and import contracts
	$(PYTHON) tasks.py test tests/test_in_place.py -k "passes and not engine"

snapshots: ## Update tests/snapshots; review the diff with git
	$(PYTHON) tasks.py snapshots

mutate: ## Check that tests detect small changes of the hooks and the pure core
	$(PYTHON) tasks.py mutate
