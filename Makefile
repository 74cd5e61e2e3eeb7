# Everything runs in .venv; each target installs first, which takes no time when nothing changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
STAMP := $(VENV)/.installed
# Address of PyTorch's index of CPU wheels; empty: the build that pip finds first.
TORCH_INDEX ?=
HOST ?= 127.0.0.1
PORT ?= 8000
# Tests run in two processes, a file in one of them; PYTEST_ARGS="-n 0 -x tests/maps" runs some in one.
PYTEST_ARGS ?=
BENCH_ARGS ?=
IMAGE_ARGS ?= $(if $(TORCH_INDEX),--build-arg=TORCH_INDEX=$(TORCH_INDEX))

.DEFAULT_GOAL := help
.PHONY: help install serve test check demo bench image-test clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##/\1:/p' $(MAKEFILE_LIST)

install: $(STAMP)  ## the package, editable, and all development tools into .venv

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(PIP) --no-deps $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

serve: $(STAMP)  ## start the planning server
	@$(BIN)/flowfleet serve --host $(HOST) --port $(PORT)

test: $(STAMP)  ## run the tests
	@$(BIN)/flowfleet plan examples/warehouse_16.json -o /dev/null  # compiles the kernels before two processes want them
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

check: $(STAMP)  ## lint, format, import directions, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/pyright

demo: $(STAMP)  ## plan sixteen robots in the warehouse; a picture and an animation in out/
	@mkdir -p out
	@$(BIN)/flowfleet plan examples/warehouse_16.json -o out/demo.jsonl
	@$(BIN)/flowfleet render out/demo.jsonl --request examples/warehouse_16.json -o out/demo.png
	@$(BIN)/flowfleet render out/demo.jsonl --request examples/warehouse_16.json -o out/demo.gif
	@echo "out/demo.png and out/demo.gif"

$(VENV)/.bench: $(STAMP)
	@$(PIP) --no-build-isolation --editable '.[bench]'
	@touch $@

bench: $(VENV)/.bench  ## measure: the server, batches, and peers beside it; tables in out/bench/
	@$(BIN)/python benchmarks/serve_bench.py $(BENCH_ARGS)
	@$(BIN)/python benchmarks/batch_bench.py
	@$(BIN)/python benchmarks/peers.py

image-test:  ## build the image without Docker (Debian, root) and try it as a container
	@$(PYTHON) deploy/image_test.py $(IMAGE_ARGS)

clean:  ## forget everything that was made here, .venv included
	@rm -rf $(VENV) out build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
