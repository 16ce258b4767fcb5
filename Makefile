# Each target does all its own set-up, in .venv, or .venv312 for Python 3.12.
PYTHON ?= python3
PYTHON312 ?= python3.12
BIN := .venv/bin

.PHONY: demo gallery test check tpu_plan

demo: .venv/installed
	$(BIN)/python train.py --config=configs/digits_semi_supervised.py

gallery: .venv/installed
	$(BIN)/python -m benchmarks.gallery

test: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

# All that is checked before a release.
check: test .venv312/installed
	.venv312/bin/python -m pytest -q -n 2 --dist loadfile -m "whole or not whole"

tpu_plan: .venv_tpu/installed
	.venv_tpu/bin/python -m benchmarks.tpu_plan

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

.venv312/installed: setup.cfg pyproject.toml
	$(PYTHON312) -m venv .venv312
	.venv312/bin/pip install --quiet --editable '.[test]'
	touch $@

# By itself: JAX would look for a TPU wherever libtpu is installed.
.venv_tpu/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv_tpu
	.venv_tpu/bin/pip install --quiet --editable '.[tpu]'
	touch $@
