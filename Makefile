# Everything runs in .venv, which `make install` makes; nothing else is needed but Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install run test test-long test-jax test-torch network soak chaos fuzz bench docs docs-serve lint clean

help:  ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED)  ## Make .venv with every extra

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Corral needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make install PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

run: $(INSTALLED)  ## Train CartPole-v1 with a server, a learner and several actors
	$(BIN)/corral run examples/cartpole.toml

test: $(INSTALLED)  ## Run the tests, but for those that take minutes
	$(BIN)/python -m pytest -m "not long"

test-long: $(INSTALLED)  ## Run the others: containers, test hosts, JAX, clean installs, every example
	$(BIN)/python -m pytest -m long

test-jax: $(INSTALLED)  ## Run what `make test` runs, every process on JAX
	KERAS_BACKEND=jax $(BIN)/python -m pytest -m "not long"

TORCH := .venv-torch/bin
test-torch: $(INSTALLED) .venv-torch/.installed  ## Serve on PyTorch, from a .venv-torch without TensorFlow (1.2 GB)
	REQUIRE_TORCH=1 $(BIN)/python -m pytest -m long tests/agents/backend/test_torch.py tests/test_torch.py

.venv-torch/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-torch
	$(TORCH)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[torch]' pytest pytest-timeout hypothesis
	@touch $@

STEPS ?= 1000000
network: $(INSTALLED)  ## Count STEPS=1000000 steps, each exactly once, over a bad network (SEED=1 repeats one)
	$(BIN)/python -m tests.network --steps $(STEPS) $(if $(SEED),--seed $(SEED))

MINUTES ?= 60
soak: $(INSTALLED)  ## Train for MINUTES=60 with actors that come and go, and look whether anything grows
	$(BIN)/python benchmarks/soak.py --minutes $(MINUTES)

chaos: $(INSTALLED)  ## Kill and freeze the processes of a run 200 times, at random (half an hour)
	$(BIN)/corral chaos examples/cartpole.toml --kills 200 --minutes 60 --interval-s 4 --set learner.checkpoint_every_s=1

fuzz: $(INSTALLED)  ## Send a million bad inputs to a server and a learner (FUZZ="--seconds 300 --seed 1")
	$(BIN)/python -m tests.fuzz $(FUZZ)

bench: $(INSTALLED)  ## Measure everything in benchmarks/RESULTS.md again (half an hour; peers where they are installed)
	$(BIN)/python benchmarks/targets.py
	$(BIN)/python benchmarks/compare.py

docs: $(INSTALLED)  ## Build the documentation's site into site/; a warning fails
	$(BIN)/sphinx-build --builder html --fail-on-warning --keep-going --quiet --conf-dir docs --doctree-dir build/doctrees . site

DOCS_PORT ?= 8000
docs-serve: docs  ## Build the site, and show it at http://127.0.0.1:8000 (DOCS_PORT)
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory site $(DOCS_PORT)

lint: $(INSTALLED)  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## Remove .venv and caches (runs/ is kept)
	rm -rf .venv .venv-torch .pytest_cache .mypy_cache .ruff_cache .hypothesis site build/doctrees
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
