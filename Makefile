# What people and CI call. Everything lives in this folder: the virtual environment in .venv, the demo's server in .demo.

PYTHON ?= python3
RATE ?= 1000
VENV := .venv/bin/python
INSTALL = $(VENV) -m pip install --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test lint bench soak chaos schema screenshot clean

# In the browser where there is a display: PAGE=yes serves the page in any case, PAGE=no never; PORT is the page's.
demo: .venv/installed-demo
	@$(VENV) -m demo --rate $(RATE) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(filter yes,$(PAGE)),--page) $(if $(filter no,$(PAGE)),--no-page) $(if $(PORT),--port $(PORT))

test: .venv/installed-test
	$(VENV) -m pytest -n 4 $(TESTS)

lint: .venv/installed-dev
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	$(VENV) -m mypy
	$(VENV) -m sqlfluff lint --processes 2 migrations/sql queries dbt_project/models dbt_project/tests

# Three quarters of an hour; BENCH=--quick shows in one minute that everything runs. docs/benchmarks.md has the rest.
bench: .venv/installed-bench
	@$(VENV) -m benchmarks $(BENCH)

# Under a steady load with retention on nothing may grow: MINUTES is how long, RATE events/s (2000).
soak: .venv/installed-bench
	@$(VENV) -m benchmarks.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(filter-out file,$(origin RATE)),--rate $(RATE))

# Everything fails on purpose, for so many minutes; SEED= does the same again.
chaos: .venv/installed-demo
	@$(VENV) -m chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

# The schema that the migrations make, on a fresh database of the demo's server.
schema: .venv/installed-dev
	@mkdir -p .demo
	$(VENV) -m demo postgres schema > .demo/schema.sql
	mv .demo/schema.sql migrations/schema.sql

# README's picture of the page, of a demo run for it; it wants chromium.
screenshot: .venv/installed-test
	@$(VENV) -m tests.screenshot docs/page.png

clean:
	if [ -x $(VENV) ] && [ -d .demo ]; then $(VENV) -m demo postgres remove; fi
	rm -rf .demo .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

# An extra's packages include those of others.
WITHIN_dev := test bench demo
WITHIN_test := bench demo
WITHIN_bench := demo

.venv/installed-%: pyproject.toml constraints.txt
	@echo "installing pgsegments[$*] into .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(INSTALL) '.[$*]'
	@touch $(patsubst %,.venv/installed-%,$* $(WITHIN_$*))
