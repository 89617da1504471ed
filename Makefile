# `make demo` and `make test` work on a fresh machine that has Python 3.10 or later and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV = .venv
BIN = $(VENV)/bin

.PHONY: demo test lint system clean
.DELETE_ON_ERROR:

demo: $(VENV)/all
	$(BIN)/edgetf demo -o demo --force

test: system $(VENV)/test lint
	$(BIN)/pytest

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/all: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	touch $@

$(VENV)/test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,test]'
	touch $@ $(VENV)/all

# Debian packages that tests need: installed where that is possible; a test whose package is missing is skipped
SYSTEM = adb chromium qemu-user-static mmdebstrap openssh-client
system:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! dpkg -s $(SYSTEM) >/dev/null 2>&1; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SYSTEM) >/dev/null; \
	fi

clean:
	rm -rf $(VENV) demo build dist *.egg-info
