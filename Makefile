# Every target sets up what it needs by itself: see scripts/setup.sh.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-matrix test-pairs sparks faults soak wheel explore bench check format clean
ARGS ?=

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Set up .venv, Java and the jars, once
	@scripts/setup.sh

demo: setup ## Apply a change feed of PostgreSQL with spark-submit and compare the table with PostgreSQL's
	@scripts/run.sh scripts/demo.sh

test: setup ## Run all tests but those of make sparks and make faults; make test ARGS="-k merge" runs some
	@scripts/run.sh pytest -n 3 --dist loadgroup --no-loadscope-reorder -m "not faults and not sparks" $(ARGS)

test-fast: setup ## Run the tests that need no JVM and no server, but the slow ones
	@scripts/run.sh pytest -n 3 --dist loadgroup --no-loadscope-reorder -m "not spark and not slow and not integration and not faults" \
		--ignore tests/spark --ignore tests/conformance --ignore tests/jobs --ignore tests/notebooks --ignore tests/docs \
		$(ARGS)

test-matrix: setup ## Run all tests of Spark, the demo and the notebooks on Spark 3.5 (EMR 7), 4.0 (EMR 8) and the newest
	@scripts/matrix.sh all emr-7 emr-8 spark

sparks: setup ## Run conformance with Spark, slow tests of it, and those with a Spark of their own: sessions, clusters, archives
	@scripts/run.sh pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "sparks and not faults" $(ARGS)

test-pairs: setup ## Run the conformance tests on Spark 3.5 (EMR 7) and 4.0 (EMR 8)
	@scripts/matrix.sh conformance emr-7 emr-8

faults: setup ## Plant mistakes that the tests must find; fail the store and kill processes at every step
	@scripts/run.sh pytest -n 3 --dist loadgroup --no-loadscope-reorder -m faults $(ARGS)

soak: setup ## Let processes race, fail and die for minutes: make soak ARGS="--minutes 60", or "--seed 7 --trials 1"
	@scripts/run.sh python -m tests.soak $(ARGS)

explore: setup ## Compare thousands of random interleavings with the oracle; make test does a hundred
	@scripts/run.sh pytest -n 2 --dist loadgroup --timeout 3600 --interleavings 2000 -k test_interleavings_equal_the_oracle \
		tests/table/test_law_interleavings.py tests/spark/test_interleavings.py $(ARGS)

bench: setup ## Measure side by side with Delta's MERGE and others; ARGS goes to the benchmark
	@scripts/run.sh python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@scripts/run.sh python -m benchmarks $(ARGS)

wheel: setup ## Build the wheel into dist/
	@scripts/run.sh python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

check: setup ## Check format, lint and types
	@scripts/run.sh ruff format --check .
	@scripts/run.sh ruff check .
	@scripts/run.sh mypy

format: setup ## Format the code and mend what lint can mend
	@scripts/run.sh ruff format .
	@scripts/run.sh ruff check --fix .

clean: ## Remove everything that the other targets made
	rm -rf .venv .cache build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
