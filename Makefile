# demo: the main job on embedded defaults. test: the whole suite. check: all that must be clean.
# torture, soak: everything is killed and misbehaves at random; lost, doubled and wrong are counted.
# Each makes its own .venv from a bare python3 >= 3.11 when it is missing.
PYTHON   ?= python3
VENV     ?= .venv
BIN      := $(VENV)/bin
ARGS     ?=
JOBS     ?= 2
N        ?= 1000
SEED     ?= 1
KIND     ?= mixed
SERVICES ?= 1
COMFYUIS ?= 1
MINUTES  ?= 30
PIP      := $(BIN)/python -m pip --quiet --disable-pip-version-check install --constraint constraints.txt

.PHONY: demo test check torture soak docs format clean

$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("ComfyGen needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (choose another with PYTHON=…)" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --editable . >&2
	@touch $@

$(VENV)/.check: $(VENV)/.runtime
	@$(PIP) --editable '.[test,dev]' >&2
	@touch $@

demo: $(VENV)/.runtime
	@$(BIN)/comfygen demo $(ARGS)

test: $(VENV)/.check
	$(BIN)/pytest --numprocesses $(JOBS) --dist worksteal $(ARGS)

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses $(JOBS) --dist worksteal -m "not slow"

torture: $(VENV)/.check
	$(BIN)/python -m tests.torture --n $(N) --seed $(SEED) --services $(SERVICES) --comfyuis $(COMFYUIS) --kind $(if $(filter 2,$(SERVICES)),bucket,$(KIND)) $(ARGS)

soak: $(VENV)/.check
	$(BIN)/python -m tests.torture --soak $(MINUTES) --seed $(SEED) --comfyuis $(COMFYUIS) --kind $(KIND) $(ARGS)

format: $(VENV)/.check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.check
	$(BIN)/python -m tests.doc_tables

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache dist
