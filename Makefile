# Two commands matter: `make quickstart` and `make test`. Both set up .venv first, from pyproject.toml alone.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: quickstart test lint types contracts check clean

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

quickstart: $(STAMP)
	$(BIN)/clipadapt garments --out runs/quickstart
	$(BIN)/accelerate launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		train.py --config configs/quickstart.yaml
	$(BIN)/clipadapt release create runs/quickstart/releases runs/quickstart --note "the quickstart" --promote

# Two processes of one thread: the tests' models are so small that more threads only wait for each other. A file's tests
# stay together, for they share what they made; slow files come first (tests/conftest.py). Nothing is fetched.
test: $(STAMP)
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyright

contracts: $(STAMP)
	$(BIN)/lint-imports

check: lint types contracts test

clean:
	rm -rf .venv runs
