# `make demo` and `make test` work on a fresh machine that has Python 3.10 or later and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV = .venv
BIN = $(VENV)/bin

.PHONY: demo test lint docs fuzz chaos system clean
.DELETE_ON_ERROR:

demo: $(VENV)/all
	$(BIN)/edgetf demo -o demo --force

test: system $(VENV)/test lint
	$(BIN)/pytest

# damaged input for every reader, for an hour, half of it guided by coverage; docs/robustness.md has what was seen
FUZZ_SECONDS ?= 3600
fuzz: $(VENV)/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	EDGETF_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest -n 0 -s tests/fuzz/test_fuzz.py -k for_long

# random kills of real commands, 20 rounds each: an hour
chaos: $(VENV)/test
	$(BIN)/python -m tests.chaos

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the site in build/site; every warning, such as a link that leads nowhere, is an error
docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/all: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	touch $@

$(VENV)/docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@

$(VENV)/test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,test]'
	touch $@ $(VENV)/all $(VENV)/docs

# Debian packages that tests need: installed where that is possible; a test whose package is missing is skipped
SYSTEM = adb chromium qemu-user-static mmdebstrap openssh-client
system:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! dpkg -s $(SYSTEM) >/dev/null 2>&1; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SYSTEM) >/dev/null; \
	fi

clean:
	rm -rf $(VENV) demo build dist *.egg-info
