# Needs python3 (3.10 or later), a C compiler and make; everything else is installed into .venv.
#
# Every step leaves a stamp that depends on its sources. Folders are sources too: their time changes
# when a file in them goes away.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
SECONDS ?= 600
# One process more than there are cores, for some tests wait for real time; no test may depend on
# having a core for itself.
WORKERS ?= $(shell $(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')

# What pytest makes of the tests is kept: it takes 12 s for each process that runs them.
export PYTHONDONTWRITEBYTECODE :=

KIND := $(or $(if $(filter 1,$(MPGAMESERVER_PROFILE)),profile),\
	$(if $(filter 1,$(MPGAMESERVER_DEBUG)),debug),\
	$(if $(filter 1,$(MPGAMESERVER_SANITIZE)),sanitize),release)
BIN := $(VENV)/bin
BUILD_TOOLS := $(VENV)/.build-tools
DEV_TOOLS := $(VENV)/.dev-tools
FUZZ_TOOLS := $(VENV)/.fuzz-tools
CROSS_TOOLS := $(VENV)/.cross-tools
BENCH_TOOLS := $(VENV)/.bench-tools
DOCS_TOOLS := $(VENV)/.docs-tools
TYPES_TOOLS := $(VENV)/.types-tools
WHEEL := dist/.$(KIND)
INSTALLED := $(VENV)/.installed-$(KIND)
SOURCES := setup.py pyproject.toml MANIFEST.in README.md LICENSE \
	$(shell find _core mpgameserver -not -path '*/__pycache__*' -not -name '*.so')

.PHONY: help demo test test-extra soak fuzz bench bench-quick profile bench-instructions pictures docs lint types wheel wheels install clean

help:
	@echo 'make demo         build, install into $(VENV), and play for 8 seconds over a bad link'
	@echo 'make test         build, install, and run the tests that need only pip packages'
	@echo 'make test-extra   run the tests that take minutes or need a system program'
	@echo 'make soak         play hours of virtual time on bad links, and check every byte'
	@echo 'make fuzz         play hostile inputs for 600 seconds, or SECONDS=..., under sanitizers'
	@echo 'make bench        compare with sockets, ENet and QUIC (minutes); makes docs/performance.md'
	@echo 'make bench-quick  the same in a minute, less precisely'
	@echo 'make profile      run the hot path under cProfile, and write a .prof for snakeviz'
	@echo 'make bench-instructions  compare instructions per datagram with the record (valgrind)'
	@echo 'make pictures     redraw the pictures of the documentation'
	@echo 'make docs         build the site into build/site; a broken link or reference fails'
	@echo 'make lint         run ruff, mypy, cython-lint, and checkers of packaging and workflows'
	@echo 'make types        check the types of the installed package: stubtest, pyright, mypy'
	@echo 'make wheel        build the wheel into dist/'
	@echo 'make wheels       build and test a wheel for every CPython on this machine, from the sdist'
	@echo 'make install      build, and install into $(VENV)'
	@echo 'make clean        remove everything that make has made'
	@echo
	@echo 'ARGS="..." is passed to the demo and to pytest: make test ARGS="tests/core -k wrap"'
	@echo 'WORKERS=0 runs make test in one process, with live output'
	@echo 'MPGAMESERVER_PROFILE=1 or MPGAMESERVER_DEBUG=1 builds, installs and runs that kind of build'

demo: $(INSTALLED)
	cd $(VENV) && bin/python -m mpgameserver demo $(ARGS)

test: $(INSTALLED) $(DEV_TOOLS)
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

# What is skipped for want of a program is listed at the end, with the reason.
test-extra: $(INSTALLED) $(DEV_TOOLS) $(FUZZ_TOOLS) $(CROSS_TOOLS)
	$(BIN)/pytest -m extra $(ARGS)

soak: $(INSTALLED)
	cd tests && $(abspath $(BIN))/python -m soak $(ARGS)

fuzz: $(INSTALLED) $(DEV_TOOLS) $(FUZZ_TOOLS)
	cd tests && $(abspath $(BIN))/python -m fuzz --seconds $(SECONDS) $(ARGS)

# Minutes; what it finds is written down, and docs/performance.md is made of it.
bench: $(INSTALLED) $(BENCH_TOOLS)
	$(BIN)/python bench/run.py --out bench/results.json $(ARGS)
	$(BIN)/python bench/report.py

bench-quick: $(INSTALLED)
	$(BIN)/python bench/run.py --quick $(ARGS)

# The same exchanges under cProfile, in an environment with the profile build.
profile:
	$(MAKE) VENV=$(VENV)/profile MPGAMESERVER_PROFILE=1 install
	$(VENV)/profile/bin/python bench/profile_hotpath.py $(VENV)/profile/hotpath.prof

# Needs valgrind. Instructions and not time: noise does not touch them.
bench-instructions: $(INSTALLED)
	$(BIN)/python bench/instructions.py $(ARGS)

# Runs of the package, drawn; tests/repository/test_pictures.py fails when they are out of date.
pictures: $(INSTALLED) $(DEV_TOOLS)
	$(BIN)/python docs/pictures/draw.py

docs: $(INSTALLED) $(DOCS_TOOLS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(INSTALLED) $(DEV_TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH='$(abspath $(BIN))':"$$PATH" cython-lint _core mpgameserver/_core
	$(BIN)/validate-pyproject pyproject.toml
	$(BIN)/check-manifest --no-build-isolation
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms \
		$(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config \
		.github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/zizmor --offline --quiet .github

# What is installed, seen from outside as its users' checkers see it: the stubs against the compiled
# modules, how much of the public API has types, and a game that uses all of it.
types: $(INSTALLED) $(TYPES_TOOLS)
	cd tests/typed && PATH='$(abspath $(BIN))':"$$PATH" && \
	stubtest mpgameserver._core --mypy-config-file mypy.ini && \
	pyright --verifytypes mpgameserver --ignoreexternal && \
	pyright && \
	mypy *.py

wheel: $(WHEEL)
	@ls dist/*.whl

# Minutes per Python; ARGS='--python 3.12' for one. They and the sdist are left in wheelhouse/.
wheels: $(DEV_TOOLS)
	$(BIN)/python tools/wheels.py $(ARGS)

install: $(INSTALLED)

clean:
	rm -rf build dist wheelhouse *.egg-info $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# What was translated or compiled with other tools or settings is no use any more.
$(BUILD_TOOLS): pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --upgrade --group build
	rm -rf build
	touch $@

$(DEV_TOOLS): $(BUILD_TOOLS)
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

$(BENCH_TOOLS): $(BUILD_TOOLS)
	$(BIN)/python -m pip install --quiet --group bench
	touch $@

$(DOCS_TOOLS): $(BUILD_TOOLS)
	$(BIN)/python -m pip install --quiet --group docs
	touch $@

$(TYPES_TOOLS): $(BUILD_TOOLS)
	$(BIN)/python -m pip install --quiet --group types
	touch $@

# Not every Python has it; without it nothing guides the inputs, and who fuzzes is told so.
$(FUZZ_TOOLS): $(DEV_TOOLS)
	-$(BIN)/python -m pip install --quiet --only-binary :all: --group fuzz
	touch $@

# Nor is this one there for every platform.
$(CROSS_TOOLS): $(DEV_TOOLS)
	-$(BIN)/python -m pip install --quiet --only-binary :all: --group cross
	touch $@

# setuptools packs whatever lies in build/*/lib*: only the compiled modules may stay there, and only
# those whose source is still there.
$(WHEEL): $(SOURCES) $(BUILD_TOOLS)
	rm -rf dist *.egg-info
	mkdir -p build
	find build -path '*/lib*' -type f -not -name '*.so' -delete
	@for file in $$(find build -path '*/lib*' -name '*.so'); do \
		module=$$(basename $$file); \
		test -e _core/$${module%%.*}.pyx || rm $$file; \
	done
	@echo 'mpgameserver: $(KIND) build'
	$(BIN)/python -m pip wheel --verbose --no-deps --no-build-isolation --wheel-dir dist . \
		>build/$(KIND).log 2>&1 || { cat build/$(KIND).log; exit 1; }
	touch $@

$(INSTALLED): $(WHEEL)
	rm -f $(VENV)/.installed-*
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall dist/*.whl
	$(BIN)/python -m pip install --quiet "$$(ls dist/*.whl)[cli]"
	touch $@
