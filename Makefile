# The only commands anyone has to learn. Each makes what it needs first: system packages, then .venv from the lock.

PYTHON ?= python3
ARGS ?=
WHAT ?= write_path
SIDE_BY_SIDE ?= 4
IMAGE ?= forebay
TAG ?= dev
BASE ?=
WHEELS ?=

BIN := .venv/bin
READY := .venv/installed
SOURCES := crds operator consumer cli bench tests tools
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock"

.PHONY: demo demo-ha test e2e check bench faults image manifests lock system

demo: $(READY) ## A flood through real Kafka into real PostgreSQL, then an audit. ARGS="--break lose" must fail
	$(BIN)/forebay demo $(ARGS)

demo-ha: $(READY) ## The same into three Patroni members behind HAProxy, one of which is killed in the middle of the flood
	tools/setup_system.sh ha
	$(BIN)/forebay demo --ha $(ARGS)

test: $(READY) system ## All tests, those on a cluster last. ARGS="tests/unit -k parse" for some
	$(if $(ARGS),,PYTHONPATH=tests $(BIN)/python -m support.programs helm etcd kube-apiserver) # before any deadline
	$(if $(ARGS),$(BIN)/pytest $(ARGS),$(BIN)/pytest tests/unit tests/contract -n 2 --dist loadfile)
	$(if $(ARGS),,$(BIN)/pytest tests/integration -n 2 --dist loadfile --durations=15)
	$(if $(ARGS),,$(MAKE) e2e)

e2e: $(READY) system ## The product on a Kubernetes cluster by kind, made and removed. KIND_IMAGE, KIND_CONFIG: which one
	$(BIN)/pytest tests/e2e -n $(SIDE_BY_SIDE) --no-loadscope-reorder --durations=15 $(ARGS)

check: $(READY) ## Everything that reads the code without running it
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy crds operator consumer cli bench tests tools
	$(BIN)/lint-imports
	$(BIN)/vulture
	PYTHONPATH=tests $(BIN)/python tools/manifests.py --check
	$(BIN)/python tools/api_reference.py --check

manifests: $(READY) ## Writes what comes from charts and crds/: manifests/, READMEs' tables, the copied definition, docs/api.md
	PYTHONPATH=tests $(BIN)/python tools/manifests.py
	$(BIN)/python tools/api_reference.py

bench: $(READY) ## A measurement. WHAT=write_path: beside bare loops, faults: random ones, upsert: with a key, peers.throughput: beside Debezium, operator_cost
	PYTHONPATH=tests $(BIN)/python -m bench.$(WHAT) $(ARGS)

faults: $(READY) ## 100 faults of PostgreSQL under load, resumable. ARGS="--scenario everything-down", "--seed 2 --fresh", ...
	tools/setup_system.sh ha
	PYTHONPATH=tests $(BIN)/python -m bench.faults_ha $(ARGS)

image: ## Container images of the operator and the consumer. BASE, WHEELS, PYTHON: see tools/build_images.sh
	BASE='$(BASE)' WHEELS='$(WHEELS)' PYTHON='$(PYTHON)' IMAGE='$(IMAGE)' TAG='$(TAG)' tools/build_images.sh

lock: $(READY) ## Takes up newer versions of all dependencies
	$(COMPILE) --upgrade --extra dev --output-file requirements.lock
	$(COMPILE) --constraint requirements.lock --extra operator --output-file requirements-operator.lock
	$(COMPILE) --constraint requirements.lock --extra consumer --output-file requirements-consumer.lock
	$(COMPILE) --constraint requirements.lock --extra build --output-file requirements-build.lock

system: # the packages that only tests need
	tools/setup_system.sh tests

$(READY): requirements.lock pyproject.toml
	tools/setup_system.sh
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.x")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@
