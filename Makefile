# `make demo` and `make test` need Python 3.11 or newer, git and make. They make the environment
# in .venv themselves, and make it anew when the lock changes.

PYTHON ?= python3
UV ?= uv
HOSTS ?=
LOCK_FLAGS ?=

EXAMPLE := rules/examples/hermes
DEMO_LOG := .demo/decisions
BIN := .venv/bin
LOCKED := .venv/.locked
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL_LOCKED = $(PIP) install -qq --require-hashes --no-deps
COMPILE = $(UV) pip compile --quiet --universal --generate-hashes --no-strip-extras --no-emit-index-url \
	--python-version 3.11 --custom-compile-command "make lock" $(LOCK_FLAGS)

# The tests start hundreds of processes, and without bytecode each compiles the package again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo quick test hosts lint bench format lock editor screenshots dist clean

help: ## show these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## test the shipped policies, decide, explain, plan a delegation, replay the log, and serve
	rm -rf .demo
	$(BIN)/policy-router check $(EXAMPLE).yaml
	$(BIN)/policy-router test rules
	$(BIN)/policy-router menu $(EXAMPLE).yaml
	$(BIN)/policy-router decide $(EXAMPLE).yaml $(EXAMPLE).requests.json --log $(DEMO_LOG)
	$(BIN)/policy-router explain $(EXAMPLE).yaml $(EXAMPLE).requests.json --task 2 --why-not glm-5.1
	$(BIN)/policy-router delegate $(EXAMPLE).yaml --goal "Fix the test." --model glm-5.1 --dry-run
	$(BIN)/policy-router log ls $(DEMO_LOG)
	$(BIN)/policy-router log verify $(DEMO_LOG)
	$(BIN)/policy-router log check $(DEMO_LOG)
	$(BIN)/policy-router replay $(DEMO_LOG)
	$(BIN)/policy-router replay $(DEMO_LOG) --against rules/starter.yaml
	$(BIN)/python .ci/ask $(EXAMPLE).yaml .demo/served

quick: $(INSTALLED) ## run the fast tests, after each edit: some seconds
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not slow and not stress" \
		tests/unit tests/golden tests/conformance

test: demo ## run the demo, then all tests but the slowest: a few minutes
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not stress"

hosts: $(INSTALLED) ## test with each agent's host, in an environment of its own; HOSTS=NAME for one
	$(BIN)/python -m tests.hosts $(HOSTS)

lint: $(INSTALLED) ## check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(INSTALLED) ## time decisions, model calls and the log, beside code written by hand and other engines
	$(BIN)/python -m benchmarks --peers --threads --delegation --log

format: $(INSTALLED) ## correct style where a tool can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: ## resolve the dependencies again (needs uv; LOCK_FLAGS=--upgrade for newer ones)
	$(COMPILE) --group pip -o requirements/pip.txt
	$(COMPILE) --group dev -o requirements/dev.txt pyproject.toml
	$(COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt
	$(COMPILE) --group sdk-lowest -o requirements/sdk-lowest.txt
	$(COMPILE) -c requirements/dev.txt -o requirements/core.txt pyproject.toml
	$(COMPILE) --extra dask -c requirements/dev.txt -o requirements/dask.txt pyproject.toml
	$(COMPILE) --extra export -c requirements/dev.txt -o requirements/export.txt pyproject.toml
	$(COMPILE) --extra mcp -c requirements/dev.txt -o requirements/mcp.txt pyproject.toml
	$(COMPILE) --extra otel -c requirements/dev.txt -o requirements/otel.txt pyproject.toml
	$(COMPILE) --extra prove -c requirements/dev.txt -o requirements/prove.txt pyproject.toml
	$(COMPILE) --extra run -c requirements/dev.txt -o requirements/run.txt pyproject.toml
	$(COMPILE) --extra serve -c requirements/dev.txt -o requirements/serve.txt pyproject.toml
	$(COMPILE) --extra sign -c requirements/dev.txt -o requirements/sign.txt pyproject.toml
	for host in requirements/hosts/*.in; do \
		$(COMPILE) --no-annotate --no-emit-package policy-router -o "$${host%.in}.txt" "$$host" || exit; \
	done

editor: ## bundle the scripts of others that the pages use (needs npm)
	.ci/editor/bundle

screenshots: $(INSTALLED) ## take the pictures of docs/pages.md (needs Chromium)
	$(BIN)/python -m tests.pages.screenshots docs/pages

dist: $(INSTALLED) ## build the sdist, and from it the wheel
	rm -rf dist
	$(BIN)/python -m build --no-isolation

clean: ## remove what the other targets made
	rm -rf .venv .hosts .demo benchmarks/.venvs dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache
	find policy_router tests -type d -name __pycache__ -prune -exec rm -rf {} +

# The stamps are written last: an environment that was interrupted half-way is made anew.
# The pip that Python brings installs the one that is locked, which installs all else. A lock is
# whole, so pip resolves nothing: no old pip and no later release can break it.
$(LOCKED): requirements/pip.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "policy-router needs Python 3.11 or newer; '$(PYTHON)' is older, or does not run." \
			"Name another one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(INSTALL_LOCKED) -r requirements/pip.txt
	$(INSTALL_LOCKED) -r requirements/dev.txt
	@touch $@

$(INSTALLED): $(LOCKED) pyproject.toml
	$(PIP) install -qq --no-deps --no-build-isolation -e .
	@touch $@
