# Each target does all its own set-up, in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo gallery test

demo: .venv/installed
	$(BIN)/python train.py --config=configs/digits_semi_supervised.py

gallery: .venv/installed
	$(BIN)/python benchmarks/gallery.py

test: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@
