# make demo · make test · make bench: each installs what is missing, then does it. make help.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= $(shell nproc)
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

BUILD_REQUIREMENTS := 'scikit-build-core>=1.1' 'nanobind>=3.1,<4' 'pyarrow==26.0.*' numpy ninja
TEST_REQUIREMENTS := tools/test-requirements.txt

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | \
	  awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: demo
demo: package ## Quantize the example models, show the table, write demo-output/samples.png
	$(BIN)/python -m examples.demo

.PHONY: test
test: $(VENV)/.test-requirements ## Build everything and run every test, C++ and Python
	@$(MAKE) --no-print-directory package TESTS=ON
	$(BIN)/python tools/run_tests.py --build build/python

.PHONY: check-all
check-all: test asan tsan ## make test, then the C++ tests under the sanitizers

.PHONY: asan tsan
asan tsan: package
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --preset $@
	cmake --build --preset $@
	ctest --preset $@ -j $(JOBS)

.PHONY: bench
bench: package ## Benchmark kernels, Arrow batches beside C++, the whole program beside cp, cancellation
	tools/setup.sh bench
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --preset release
	cmake --build --preset release
	build/release/bench/kernels_bench --benchmark_min_time=0.5
	build/release/bench/compensate_bench
	$(BIN)/python bench/batch_arrow.py
	$(BIN)/python bench/end_to_end.py
	$(BIN)/python bench/cancellation.py

.PHONY: evaluate evaluate-full
evaluate: package $(VENV)/.test-requirements ## Measure what each feature is worth; write docs/evaluation.md
	$(BIN)/python -m examples.evaluation

evaluate-full: package $(VENV)/.test-requirements ## make evaluate with three seeds of every row (an hour)
	$(BIN)/python -m examples.evaluation --full

.PHONY: fuzz
fuzz: package ## Fuzz the safetensors reader for a minute (clang)
	tools/setup.sh fuzz
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S . -B build/fuzz -G Ninja -DCMAKE_CXX_COMPILER=clang++ \
	  -DARROW_QUANT_FUZZ=ON -DARROW_QUANT_TESTS=OFF -DARROW_QUANT_CLI=OFF
	cmake --build build/fuzz --target safetensors_fuzz
	mkdir -p build/fuzz/corpus
	build/fuzz/tests/fuzz/safetensors_fuzz -max_total_time=60 -dict=tests/fuzz/safetensors.dict build/fuzz/corpus

.PHONY: lint
lint: $(VENV)/.test-requirements ## Check formatting, types and the direction of includes
	tools/setup.sh lint
	git ls-files '*.cc' '*.h' | xargs clang-format --dry-run --Werror
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy && $(BIN)/python tools/check_layers.py

.PHONY: format
format: $(VENV)/.test-requirements ## Format all sources
	tools/setup.sh lint
	git ls-files '*.cc' '*.h' | xargs clang-format -i
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

.PHONY: package
TESTS ?= OFF
package: $(VENV)/.build-requirements ## Build and install library, command line and Python package into .venv
	@echo "Building the library, the command line and the Python package (minutes at first) …"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install --no-build-isolation --no-deps \
	  --disable-pip-version-check --force-reinstall -v --config-settings=build-dir=build/python \
	  --config-settings=cmake.define.ARROW_QUANT_TESTS=$(TESTS) . 2>&1 \
	  | tools/show_build.sh

$(VENV)/.build-requirements: pyproject.toml tools/setup.sh Makefile
	PYTHON=$(PYTHON) tools/setup.sh build
	@echo "Installing the Python packages that the build needs …"
	$(BIN)/pip install --quiet --disable-pip-version-check $(BUILD_REQUIREMENTS)
	@touch $@

$(VENV)/.test-requirements: $(VENV)/.build-requirements $(TEST_REQUIREMENTS)
	@echo "Installing the Python packages that the tests need (torch among them) …"
	$(BIN)/pip install --quiet --disable-pip-version-check -r $(TEST_REQUIREMENTS)
	@touch $@

.PHONY: clean
clean: ## Remove the build folder, the virtual environment and the demo's output
	rm -rf build $(VENV) demo-output
