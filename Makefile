# `make demo` and `make test` do all the set-up they need, from Python 3.11 or newer, make and a package index.

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= demo
ROOTS ?= .rabbitmq
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

# Tests start the command hundreds of times: where Python may not write bytecode, each start compiles the project anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo dist constraints test test-rabbitmq4 image-check lint types pytest broker compose prometheus producers browser docs format clean

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(VENV)/.installed ## make the virtual environment with the worker and its speech models

demo: install ## transcribe and enhance real speech in batches, with an embedded broker
	$(BIN)/python -m rpcb_trio demo

test: lint types pytest ## lint, types, all tests on a RabbitMQ of their own

# The RabbitMQ of later Debian releases: trixie has 4.0, forky 4.3.
test-rabbitmq4: rabbitmq-trixie rabbitmq-forky ## what crosses the wire, on RabbitMQ 4.0 and 4.3 (as root, on Debian)

rabbitmq-%: $(ROOTS)/%/usr/sbin/rabbitmq-server $(VENV)/.developed prometheus producers browser
	RPCB_TEST_RABBITMQ_ROOT=$(ROOTS)/$* $(BIN)/python -m pytest -n 2 --dist loadfile -m rabbitmq

.PRECIOUS: $(ROOTS)/%/usr/sbin/rabbitmq-server
$(ROOTS)/%/usr/sbin/rabbitmq-server:
	@command -v mmdebstrap >/dev/null || $(MAKE) --no-print-directory debian-mmdebstrap || true # `build` says what is missing
	tests/nodes/build $* $(ROOTS)/$*

image-check: $(VENV)/.developed broker ## the image's steps in a fresh root, and the image run there (as root, on Debian; 3 minutes)
	@command -v mmdebstrap >/dev/null || $(MAKE) --no-print-directory debian-mmdebstrap || true # the check says what is missing
	$(BIN)/python -m pytest -s tests/image/check_image.py

lint: $(VENV)/.developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.developed
	$(BIN)/mypy

pytest: $(VENV)/.developed broker compose prometheus producers browser
	$(BIN)/python -m pytest -n 3 --dist loadfile # they wait for brokers and processes half of the time

docs: $(VENV)/.developed ## build the documentation, and serve it at http://127.0.0.1:8000
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict

format: $(VENV)/.developed ## rewrite the code as `make lint` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: $(VENV)/.developed ## build and check both distributions, in dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m build --outdir dist models
	$(BIN)/twine check --strict dist/*

constraints: ## renew constraints.txt: the newest versions that the declared ranges allow
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	grep -E '^(#|torch==)' constraints.txt >build/constraints.txt
	build/constraints/bin/python -m pip install --quiet --constraint build/constraints.txt --editable ./models --editable '.[all]' --group dev
	build/constraints/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -v '^torch==' >>build/constraints.txt
	mv build/constraints.txt constraints.txt

clean: ## remove what was made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache $(ROOTS) demo-output test-output

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name one with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.installed: pyproject.toml models/pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable ./models --editable '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.developed: pyproject.toml models/pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable ./models --editable '.[all]' --group dev
	@touch $@ $(VENV)/.installed

# The tests start private RabbitMQ nodes of their own, one for each process that runs tests, or use the broker that RPCB_TEST_AMQP_URL names.
broker:
	@test -n "$$RPCB_TEST_AMQP_URL" || PATH="$$PATH:/usr/sbin" command -v rabbitmq-server >/dev/null \
	|| $(MAKE) --no-print-directory debian-rabbitmq-server \
	|| { echo 'The tests need a RabbitMQ. Install rabbitmq-server (on Debian, as root: apt-get install rabbitmq-server),'; \
	     echo 'or start one (docker compose up -d rabbitmq) and set RPCB_TEST_AMQP_URL=amqp://guest:guest@localhost:5672/'; exit 1; } >&2

compose:
	@command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1 \
	|| $(MAKE) --no-print-directory debian-docker-compose \
	|| { echo 'The tests check docker-compose.yml with docker-compose: install it (on Debian, as root: apt-get install docker-compose).'; exit 1; } >&2

prometheus: # scrapes a worker; its promtool checks the alert rules
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || $(MAKE) --no-print-directory debian-prometheus \
	|| { echo 'The tests scrape a worker with Prometheus, and check alert rules with its promtool: install prometheus (on Debian, as root: apt-get install prometheus).'; exit 1; } >&2

producers: # of docs/how-to/producers.md in other languages, and the commands of the documentation
	@command -v npm >/dev/null || $(MAKE) --no-print-directory debian-npm \
	|| { echo 'The tests run a producer on Node.js: install npm (on Debian, as root: apt-get install npm).'; exit 1; } >&2
	@command -v curl >/dev/null || $(MAKE) --no-print-directory debian-curl \
	|| { echo 'The tests run the commands of the documentation: install curl (on Debian, as root: apt-get install curl).'; exit 1; } >&2
	@command -v amqp-consume >/dev/null || $(MAKE) --no-print-directory debian-amqp-tools \
	|| { echo 'The tests run a producer of amqp-tools: install them (on Debian, as root: apt-get install amqp-tools).'; exit 1; } >&2

browser: # for the gateway's page
	@test -n "$$RPCB_TEST_CHROMIUM" || command -v chromium >/dev/null \
	|| $(MAKE) --no-print-directory debian-fonts-dejavu-core debian-chromium \
	|| { echo 'The tests open the page of the gateway in Chromium: install it (on Debian, as root: apt-get install chromium),'; \
	     echo 'or set RPCB_TEST_CHROMIUM=/path/to/chromium'; exit 1; } >&2

debian-%:
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null
	apt-get -o Acquire::Retries=3 update -q
	DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install -q -y --no-install-recommends $*
