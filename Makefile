# Farebox: the verbs for people and for CI. Needs python3 (3.11 or newer) and make; everything else is set up here.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
PIP     = $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help run test check format fuzz bench audit lock sbom wheel clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

# One virtual environment; a stamp for what run needs and one for what developers add.
$(VENV)/run.stamp: requirements/run.txt requirements/build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Farebox needs Python 3.11 or newer; set PYTHON=python3.x")'
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements/run.txt -r requirements/build.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements/dev.txt
	@echo "Adding development tools (once)"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

run: $(VENV)/run.stamp  ## serve config/demo.yaml on http://127.0.0.1:8080 with mock vendors: no key, no network
	@exec $(BIN)/farebox serve --config config/demo.yaml

test: check  ## lint, types and every test, two files at a time (JOBS)
	$(BIN)/python -m pytest -n $(or $(JOBS),2) --dist loadfile $(PYTEST)

check: $(VENV)/dev.stamp  ## lint and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp  ## let ruff format and fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(VENV)/dev.stamp  ## read odd input until SECONDS (600) have passed; FUZZ="--only sse,json --seed 1" narrows it
	$(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),600) $(FUZZ)
	FAREBOX_EXAMPLES=150 $(BIN)/python -m pytest --timeout 1800 tests/http/test_openapi.py

bench: $(VENV)/dev.stamp  ## measure speed and memory beside a bare upstream (needs nginx-light, libnginx-mod-http-echo, wrk)
	$(BIN)/python tests/bench/run.py $(BENCH)

wheel: $(VENV)/dev.stamp  ## build dist/farebox-*.whl
	$(BIN)/python -m hatchling build -t wheel

lock: $(VENV)/dev.stamp  ## resolve requirements/*.txt anew, with hashes, for every supported Python
	$(BIN)/python requirements/lock.py
	$(BIN)/python requirements/sbom.py

sbom: $(VENV)/dev.stamp  ## write requirements/sbom.cdx.json (CycloneDX) from requirements/shared.txt
	$(BIN)/python requirements/sbom.py

audit: $(VENV)/dev.stamp  ## look the locked packages up in the vulnerability database (needs the network; says so without)
	$(BIN)/python requirements/audit.py

clean:  ## remove what make has made
	rm -rf $(VENV) dist build *.egg-info .mypy_cache .ruff_cache .hypothesis
