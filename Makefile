# The commands of the README. `make run` and `make test` set themselves up; nothing else has to be called first.
PYTHON ?= python3
BIN := .venv/bin
PREVIOUS := 'openai>=2,<3' 'anthropic>=1,<2'

# Where it is set, every start would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run demo test check lint types bench bench-peers bench-deadline bench-world soak lock clean

run: .venv/.run
	@exec $(BIN)/costrouter serve

# To the node that runs, or to one of its own.
demo: .venv/.dev
	@$(BIN)/costrouter demo

# Most of a test's time is waiting for processes, so three at a time are right for two cores.
test: .venv/.dev
	@$(BIN)/python -m pytest -n 3 --dist loadfile

# The pure layers are measured to the last branch, by tests that need no process.
check: .venv/.dev lint types
	@$(BIN)/coverage run -m pytest --hypothesis-profile thorough tests/core tests/dialects tests/test_*.py
	@$(BIN)/coverage report --fail-under=100
	@$(BIN)/python -m pytest -n 3 --dist loadfile tests/adapters tests/e2e tests/faults tests/sim

lint: .venv/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/.dev
	@$(BIN)/mypy

bench: .venv/.dev
	@$(BIN)/python benchmarks/request_path.py

bench-peers: .venv/.dev
	@$(BIN)/python benchmarks/peers.py

bench-deadline: .venv/.dev
	@$(BIN)/python benchmarks/deadline.py $(TRACE)

bench-world: .venv/.dev
	@$(BIN)/python benchmarks/world.py $(if $(TRACE),--trace $(TRACE))

soak: .venv/.dev .venv/.sdk-previous
	@$(BIN)/python -m pytest -m soak --timeout 1800

# venv is a package of its own on Debian; where it is missing, virtualenv from pip stands in.
$(BIN)/python:
	@$(PYTHON) -m venv .venv 2>/dev/null || { rm -rf .venv; \
	  $(PYTHON) -m pip install --quiet --target .tools --require-hashes -r requirements/virtualenv.txt && \
	  PYTHONPATH=.tools $(PYTHON) -m virtualenv --quiet .venv; }

.venv/.run: $(BIN)/python requirements/run.txt pyproject.toml
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.run requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

# The SDKs of a major before, beside the environment: the soak's conformance runs by them as well.
.venv/.sdk-previous: .venv/.dev requirements/sdk-previous.txt
	@rm -rf .venv/sdk-previous
	@$(BIN)/python -m pip install --quiet --require-hashes --target .venv/sdk-previous -r requirements/sdk-previous.txt
	@touch $@

# Pinned versions with hashes, for every platform; the files name no host.
lock: .venv/.dev
	@$(BIN)/python -m pip install --quiet uv
	@for set in "run --extra build" "dev --extra build --extra dev -c requirements/run.txt" \
	    "image --extra build --extra finance --extra otel -c requirements/run.txt -c requirements/dev.txt"; do \
	  set -- $$set; name=$$1; shift; \
	  $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    "$$@" pyproject.toml -o requirements/$$name.txt; done
	@printf '%s\n' $(PREVIOUS) | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-annotate - -o requirements/sdk-previous.txt
	@echo virtualenv | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-annotate - -o requirements/virtualenv.txt

clean:
	@rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
