# make help lists the targets. Needs make and a Python of 3.11 or newer; everything else goes into .venv.
# Another Python: make run PYTHON=/path/to/python3

SHELL := /bin/sh
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help

PYTHON ?=
LOCK_PYTHON ?= python3.11
AIRFLOW ?= apache-airflow==3.3.2
SCHEDULERS ?= dagster==1.13.29 prefect==3.9.1

# These read the code and run nothing: make check runs them, and make test the others.
HOUSE := tests/test_layers.py tests/test_words.py

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))

# A .venv that lost its Python, or that was copied here from another folder, is made anew.
ifneq ($(shell [ -x $(BIN)/python ] && cat .venv/made-in 2>/dev/null),$(CURDIR))
.PHONY: .venv/run
endif

.PHONY: help run test test-long test-schedulers test-ray ray-faults browser test-browser check bench bench-docs bench-page bench-load bench-ledger bench-postgres bench-workers bench-cpu bench-runs bench-accounts limits pacing judge memory peers torture torture-postgres worker-faults flips mutations fuzz drops night pictures architecture reference audit sbom licences measure stored wheel fmt lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

# A crash ends with 1 too, so the report is looked for as well.
run: .venv/project ## send the samples to the embedded simulator and show the report
	@touch .venv/started; code=0; \
	PIPELINE_REPORTS='$(CURDIR)/reports' $(BIN)/pipeline run --simulate --yes inputs/samples || code=$$?; \
	if [ $$code -ne 1 ] || [ ! reports/latest/summary.json -nt .venv/started ]; then \
	  echo "make run: expected a report and exit code 1, got $$code" >&2; exit 1; \
	fi; \
	echo "Exit code 1 as expected: some of the samples fail on purpose, and errors.csv shows which."; \
	echo "The pages of these runs: $(CURDIR)/reports/index.html"

# Many tests wait for clocks and processes: eight at once keep two cores busy. Byte code is written,
# because tests start hundreds of processes, and by the quiet ones first: in a new checkout one process
# compiles the tests, instead of each of the eight.
test: export PYTHONDONTWRITEBYTECODE =
test: .venv/dev ## run the tests (ten minutes on two cores)
	@$(BIN)/python -m pytest -m quiet $(HOUSE:%=--ignore %)
	@$(BIN)/python -m pytest -n 8 --dist worksteal -m "not quiet" $(HOUSE:%=--ignore %)

# What a test proves is the same with small numbers and with these, which find what is rare.
test-long: export PYTHONDONTWRITEBYTECODE =
test-long: .venv/dev ## the tests that take a number, with large ones (an hour or two)
	@RUN_ROWS=40000 MIXED_ROWS=100000 ISOLATION_S=60 LIVENESS_SEEDS=1000 PLAN_EXAMPLES=50 \
	  SCENARIO_SEEDS=100 $(BIN)/python -m pytest --timeout 7200 tests/run/test_run.py tests/plan/test_take_back.py \
	  tests/promises/test_isolation.py tests/promises/test_liveness.py tests/promises/test_mixed.py tests/scenarios

browser: ## install a Chromium for the tests of the pages, where there is none (Debian, root)
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  { DEBIAN_FRONTEND=noninteractive; export DEBIAN_FRONTEND; apt-get update -qq && \
	    apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } || \
	  { echo "make browser: no Chromium is here, and none could be installed" >&2; exit 1; }

test-browser: browser .venv/dev ## the tests of the pages in a browser
	@$(BIN)/python -m pytest tests/ui/html/test_browser.py

# The engines have Pythons of their own: they are large, and their dependencies must not hold back ours.
test-schedulers: .venv/dev .venv/airflow/ready .venv/schedulers/ready ## the tests with a real Airflow, Dagster and Prefect (15 minutes)
	@$(PIP) wheel --no-index --no-deps --no-build-isolation --wheel-dir build/schedulers .
	@for each in airflow schedulers; do \
	  .venv/$$each/bin/python -m pip --quiet --disable-pip-version-check --no-input install \
	    --no-index --no-deps --force-reinstall build/schedulers/offer_pipeline-*.whl || exit 1; \
	done
	@$(BIN)/python -m pytest tests/schedulers $(ARGS)

# Ray has a Python of its own, too: it is large. At most two cores' worth of it runs at once.
test-ray: .venv/dev .venv/ray/ready ## the tests with a real Ray (15 minutes)
	@$(BIN)/python -m pytest -n 0 tests/ray $(ARGS)

ray-faults: .venv/dev .venv/ray/ready ## what faults do to a run by Ray, as a table (ARGS="--times 3"; 10 minutes)
	@$(BIN)/python -m tests.ray.faults $(ARGS)

check: .venv/dev ## lint, formatting, types, layer rules and words
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q $(HOUSE)

bench: .venv/dev ## compare speed, CPU time and memory with other tools (ARGS="--rows 100000 --rounds 5")
	@$(BIN)/python -m tests.benchmarks.run $(ARGS)

bench-docs: .venv/dev ## write the figures of the last `make bench` into docs/benchmarks.md and docs/scale.md
	@$(BIN)/python -m tests.benchmarks.figures
	@$(BIN)/python -m tests.benchmarks.limits

# Apart from what the project needs, and of whatever version is current: they are only compared with.
peers: .venv/run ## install reqstorm for `make bench`; curl, hey, vegeta and the like come from the system
	@$(BIN)/python -m venv .venv/peers
	@.venv/peers/bin/python -m pip --quiet --disable-pip-version-check --no-input install reqstorm

bench-page: .venv/dev ## what the page of a run of 1,000,000 rows costs (a minute)
	@$(BIN)/python tests/benchmarks/page.py

bench-load: .venv/dev ## CPU time of taking and binding a file, row by row and by columns
	@$(BIN)/python -m tests.benchmarks.load $(ARGS)

bench-ledger: .venv/dev ## what a row costs in the ledger (a minute; ARGS="--sizes 64")
	@$(BIN)/python -m tests.benchmarks.ledger $(ARGS)

bench-postgres: .venv/dev ## what a row costs in a ledger in PostgreSQL, beside SQLite (ARGS="--kept 1000000")
	@$(BIN)/python -m tests.benchmarks.ledger_postgres $(ARGS)

bench-workers: .venv/dev ## a large file by four workers on PostgreSQL: time, CPU, memory, space (ARGS="--rows 10000000 --keep")
	@$(BIN)/python -m tests.benchmarks.workers $(ARGS)

bench-cpu: .venv/dev ## CPU time a row of two workers beside one's and two runs', and the servers' (ARGS="--rows 20000")
	@$(BIN)/python -m tests.benchmarks.workers_cpu $(ARGS)

bench-runs: .venv/dev ## what a run of one row costs with 50,000 runs on record (some minutes)
	@$(BIN)/python -m tests.benchmarks.many_runs $(ARGS)

bench-accounts: .venv/dev ## what 50 accounts at 20/s, and one at 500/s, use of their quotas in one process, and its CPU (three minutes)
	@$(BIN)/python -m tests.benchmarks.many_accounts $(ARGS)

limits: .venv/dev ## simulate a hundred workers, and write docs/scale.md
	@$(BIN)/python -m tests.benchmarks.limits

pacing: .venv/dev ## measure how much of a quota is used, and that none is passed (ARGS="--seconds 15 200/s"; half an hour)
	@$(BIN)/python -m tests.benchmarks.pacing $(ARGS)

judge: .venv/dev ## count requests per window at a server of its own, over bad ways (ARGS="--runs 3 20/s"; an hour and a half)
	@$(BIN)/python -m tests.benchmarks.quota_judge $(ARGS)

memory: .venv/dev ## measure peak memory at 1,000,000 and 10,000,000 rows (an hour or two)
	@$(BIN)/python tests/benchmarks/memory.py

torture: .venv/dev ## kill runs, cut the power, judge what is left (KILLS=1000; half an hour)
	@$(BIN)/python -m tests.torture.kill_loop --kills $(or $(KILLS),1000)
	@$(BIN)/python -m tests.torture.power_loss

torture-postgres: .venv/dev ## kill runs, workers and the server of a store in PostgreSQL, and cut its power (KILLS=1000)
	@$(BIN)/python -m tests.torture.kill_loop --postgres --kills $(or $(KILLS),1000)
	@$(BIN)/python -m tests.torture.kill_loop --postgres --by-workers --power-loss --kills $(or $(KILLS),1000)

worker-faults: .venv/dev ## kill, stop and cut off workers and their database, as a table (ARGS="--times 10 partition")
	@$(BIN)/python -m tests.torture.worker_faults $(ARGS)

flips: .venv/dev ## damage every file of three runs and judge what comes of it (FLIPS=2000; 15 minutes)
	@$(BIN)/python -m tests.torture.flips --flips $(or $(FLIPS),2000)

mutations: .venv/dev ## break the rules of a row's life one at a time, and see that tests notice (20 minutes)
	@$(BIN)/python -m tests.workers.mutate_row

fuzz: .venv/dev ## feed made-up files, configurations, replies and drop folders (SECONDS=3600)
	@$(BIN)/python -m tests.fuzz.driver --seconds $(or $(SECONDS),3600)

drops: .venv/dev ## drop 200 files in odd ways before two watchers that are killed (a minute)
	@$(BIN)/python -m tests.watch.drops

night: .venv/dev ## drop 600 files in ten minutes, one in six a bad one, before one watcher
	@$(BIN)/python -m tests.watch.night

pictures: .venv/dev ## draw the pictures of the documentation anew (needs Chromium)
	@$(BIN)/python -m tests.ui.html.pictures

architecture: .venv/dev ## draw the picture of docs/architecture.md anew
	@$(BIN)/python -m tools.architecture

reference: .venv/dev ## write docs/reference anew, from the code
	@$(BIN)/python -m tests.reference

audit: .venv/tools/ready ## look the locked dependencies up among known vulnerabilities
	@$(BIN)/python -m tools.audit .venv/tools/bin/pip-audit requirements/run.txt

sbom: .venv/tools/ready ## write the list of parts (CycloneDX) to build/sbom.cdx.json
	@mkdir -p build
	@.venv/tools/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	  --output-file build/sbom.cdx.json requirements/run.txt 2>/dev/null
	@echo "Wrote build/sbom.cdx.json."

licences: .venv/project ## write docs/reference/licences.md anew, from the lock
	@$(BIN)/python -m tools.licences

measure: .venv/run ## measure size and tangle of code and docs (ARGS="v0.1.0 HEAD" compares)
	@$(BIN)/python -m tools.measure $(ARGS)

stored: .venv/dev ## keep a working folder as this version stores it, for tests of later versions
	@$(BIN)/python -m tests.fixtures.make

wheel: .venv/project ## build the wheel into dist/
	@$(PIP) wheel --no-index --no-deps --no-build-isolation --wheel-dir $(or $(DIST),dist) .

fmt: .venv/dev ## format the code and mend what the linter can mend
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

.venv/run: requirements/run.txt requirements/pip.txt
	@set -e; python=; \
	for each in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	  if "$$each" -c '$(USABLE)' >/dev/null 2>&1; then python=$$each; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "This needs Python 3.11 or newer with its venv module (on Debian: apt install python3-venv)." \
	    "Name one: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	echo "Setting up .venv with $$("$$python" --version) ..."; \
	rm -rf .venv; \
	"$$python" -m venv .venv
	@$(PIP) install --require-hashes --requirement requirements/pip.txt
	@$(PIP) install --require-hashes --requirement requirements/run.txt
	@printf '%s' '$(CURDIR)' > .venv/made-in
	@touch $@

.venv/project: pyproject.toml .venv/run
	@$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev: requirements/dev.txt .venv/project
	@echo "Adding the tools for tests and checks ..."
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@touch $@

.venv/airflow/ready: .venv/run
	@echo "Setting up $(AIRFLOW) in .venv/airflow ..."
	@$(BIN)/python -m venv .venv/airflow
	@.venv/airflow/bin/python -m pip --quiet --disable-pip-version-check --no-input install $(AIRFLOW)
	@touch $@

.venv/schedulers/ready: .venv/run
	@echo "Setting up $(SCHEDULERS) in .venv/schedulers ..."
	@$(BIN)/python -m venv .venv/schedulers
	@.venv/schedulers/bin/python -m pip --quiet --disable-pip-version-check --no-input install $(SCHEDULERS)
	@touch $@

.venv/ray/ready: pyproject.toml requirements/run.txt .venv/run
	@echo "Setting up Ray in .venv/ray ..."
	@rm -rf .venv/ray
	@$(BIN)/python -m venv .venv/ray
	@set -e; pip=".venv/ray/bin/python -m pip --quiet --disable-pip-version-check --no-input install"; \
	$$pip --require-hashes --requirement requirements/run.txt; \
	$$pip --no-build-isolation --editable '.[ray,postgres]' 'ray[default]'
	@touch $@

# Apart from what the project needs: their own dependencies must not hold back ours.
.venv/tools/ready: requirements/tools.txt .venv/run
	@echo "Setting up the tools for the supply chain ..."
	@$(BIN)/python -m venv .venv/tools
	@.venv/tools/bin/python -m pip --quiet --disable-pip-version-check --no-input install \
	  --require-hashes --requirement requirements/tools.txt
	@touch $@

# The oldest Python that is supported locks, so that nothing is missing which only it needs.
lock: ## lock the dependencies of pyproject.toml anew (needs python3.11)
	@$(LOCK_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "make lock needs Python 3.11: make lock LOCK_PYTHON=/path/to/python3.11" >&2; exit 1; }
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	unset PIP_FIND_LINKS PIP_CONSTRAINT PIP_REQUIRE_HASHES; \
	$(LOCK_PYTHON) -m venv "$$folder"; \
	"$$folder/bin/pip" --quiet --disable-pip-version-check install --require-hashes \
	  --requirement requirements/tools.txt; \
	compile="$$folder/bin/pip-compile --quiet --upgrade --rebuild --generate-hashes --no-header --strip-extras \
	  --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links"; \
	$$compile --build-deps-for=editable --output-file=requirements/run.txt pyproject.toml; \
	$$compile --build-deps-for=editable --extra=dev --constraint=requirements/run.txt \
	  --output-file=requirements/dev.txt pyproject.toml; \
	$$compile --output-file=requirements/pip.txt requirements/pip.in; \
	$$compile --constraint=requirements/pip.txt --output-file=requirements/tools.txt requirements/tools.in

clean: ## remove .venv and all caches; inputs, reports and the ledger stay
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find pipeline tests -name __pycache__ -type d -prune -exec rm -rf {} +
