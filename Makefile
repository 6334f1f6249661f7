# Every target sets itself up: Python 3.11 or newer and make are all that a machine needs.
# Everything goes into .venv; what is installed is what requirements-dev.lock says, hash by hash.

PYTHONS := python3.14 python3.13 python3.12 python3.11 python3
FITS    := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
SEARCH  := for python in $(PYTHONS); do $$python -c '$(FITS)' 2>/dev/null && command -v $$python && break; done
PYTHON  ?= $(shell $(SEARCH))
REMEDY  := make: needs Python 3.11 or newer with venv: on Debian "apt install python3-venv", else name one: make PYTHON=/path/to/python3

BIN     := .venv/bin
PIP      = $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV      := $(BIN)/uv pip install --quiet --python $(BIN)/python
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
           --no-emit-index-url --no-emit-find-links pyproject.toml
# What tests and checks need; of that what a host installs, without and with every extra.
LOCKS   := requirements-dev.lock requirements.lock requirements-all.lock

# `make install` puts all it makes below PREFIX, the unit into UNIT_DIR, and into LINK_DIR links for shells and man;
# into the last two where they may be written. Those that were given are made, and must be writable. Empty: nowhere.
# DESTDIR is for those who make packages. EXTRAS=all takes along what the extras of pyproject.toml need.
PREFIX   ?= /opt/taskwatch
UNIT_DIR ?= /etc/systemd/system
LINK_DIR ?= /usr/local
LINKED   := bin/taskwatch share/man/man1/taskwatch.1 share/bash-completion/completions/taskwatch \
            share/zsh/site-functions/_taskwatch share/fish/vendor_completions.d/taskwatch.fish
UNFIT     = make: $(PLACE) must be writable, and nothing but taskwatch in it: be root, or make install PREFIX=$$HOME/taskwatch UNIT_DIR=
NOT_ROOTED = $(filter-out /%,$(or $(PREFIX),PREFIX=) $(UNIT_DIR) $(LINK_DIR))
GIVEN     = $(foreach name,UNIT_DIR LINK_DIR,$(if $(DESTDIR)$(filter-out file,$(origin $(name))),$($(name):%=$(DESTDIR)%)))
may_write = test -n "$(1)" && test -w $(DESTDIR)$(1)

.DEFAULT_GOAL := help
.PHONY: help demo test test-real bench soak guarantees mutants man install lint style types imports lock lock-check clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

demo: .venv/.installed ## the whole system on this machine, no account needed; ARGS="--seconds 20"
	@$(BIN)/taskwatch demo $(ARGS)

test: .venv/.installed ## every test that needs only Python, in a few minutes
	@$(BIN)/pytest -m "not real" $(ARGS)

test-real: .venv/.installed ## the tests with real parts: processes that are killed, other programs
	@$(BIN)/pytest -m real $(ARGS)

bench: .venv/.installed ## what a poll costs, as ratios measured in one run; ARGS="--polls 500 --rounds 2" for a short one
	@$(BIN)/python -m tests.bench $(ARGS)

soak: .venv/.installed ## hours of seeds, kills, bodies and weeks, from where it was stopped; ARGS="--seeds 20000 --kills 1000"
	@$(BIN)/python -m tests.soak $(ARGS)

guarantees: .venv/.installed ## one fault after the other, and what came of it: writes the table in docs/proven.md
	@$(BIN)/python -m tests.guarantees $(ARGS)

mutants: .venv/.installed ## small mistakes in the pure core, one at a time: the tests must notice 90 % of them
	@$(BIN)/python -m tests.mutation --record .venv/mutants.jsonl --least 90 $(ARGS)

man: .venv/.installed ## write docs/taskwatch.1 from the commands' own help
	@$(BIN)/python -m taskwatch.cli.manual >docs/taskwatch.1.new && mv docs/taskwatch.1.new docs/taskwatch.1

# The service sees no Python below /root or /home (ProtectHome), so the system's own is looked for; and it is another
# user, so whatever the umask is, all may read. What is made for a package names the places where it will be: DESTDIR,
# spelled as the environment spells it, is cut out of its files.
install: PYTHON = $(shell PATH=/usr/local/bin:/usr/bin:/bin; $(SEARCH))
install: override DESTDIR := $(filter-out /,$(abspath $(DESTDIR)))
install: PLACE = $(DESTDIR)$(PREFIX)
install: BIN = $(PLACE)/bin
install: ## install on this host, or upgrade: sudo make install; docs/install.md says what comes next
	@test -n "$(PYTHON)" || { echo '$(REMEDY)' >&2; exit 1; }
	@test -z "$(NOT_ROOTED)" || { echo 'make: not an absolute path: $(NOT_ROOTED)' >&2; exit 1; }
	@umask 022; mkdir -p $(PLACE) 2>/dev/null && test -w $(PLACE) && \
	    { test -e $(PLACE)/pyvenv.cfg || test -z "$$(ls -A $(PLACE))"; } || { echo '$(UNFIT)' >&2; exit 1; }
	@umask 022; for place in $(GIVEN); do mkdir -p $$place 2>/dev/null && test -w $$place || \
	    { echo "make: $$place must be a directory that you may write" >&2; exit 1; }; done
	@test ! -e $(BIN) || find $(BIN) -name 'python*' -xtype l -delete # of a Python that an upgrade of the host took away
	@umask 022; $(PYTHON) -m venv $(PLACE)
	@umask 022; $(PIP) --require-hashes -r $(if $(EXTRAS),requirements-all.lock,requirements.lock) && $(PIP) --no-deps --no-build-isolation .
	@umask 022; cd $(PLACE) && mkdir -p $(dir $(LINKED)) && \
	    bin/taskwatch completion bash >share/bash-completion/completions/taskwatch && \
	    bin/taskwatch completion zsh >share/zsh/site-functions/_taskwatch && \
	    bin/taskwatch completion fish >share/fish/vendor_completions.d/taskwatch.fish
	@test -z "$(DESTDIR)" || grep -rlIZ '$(DESTDIR)' $(PLACE) | xargs -0r sed -i 's|$(DESTDIR)||g'
	@umask 022; if $(call may_write,$(LINK_DIR)); then for file in $(LINKED); do \
	    mkdir -p $(DESTDIR)$(LINK_DIR)/$${file%/*} && ln -sf $(PREFIX)/$$file $(DESTDIR)$(LINK_DIR)/$$file || exit; done; fi
	@echo "$$($(BIN)/python -Im taskwatch --version) is in $(PREFIX)"
	@umask 022; if $(call may_write,$(UNIT_DIR)); then \
	    sed 's|/opt/taskwatch|$(PREFIX)|' systemd/taskwatch.service >$(DESTDIR)$(UNIT_DIR)/taskwatch.service && \
	    echo 'next: step 2 of docs/install.md; after an upgrade: systemctl daemon-reload && systemctl restart taskwatch'; fi

lint: style types imports ## style, format, types, import contracts

style: .venv/.installed
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: .venv/.installed
	@$(BIN)/mypy

imports: .venv/.installed
	@$(BIN)/lint-imports

lock: .venv/.installed ## resolve both locks from pyproject.toml; ARGS=--upgrade for newer versions
	@$(COMPILE) --extra dev --output-file requirements-dev.lock $(ARGS) >/dev/null
	@$(COMPILE) --extra build --constraint requirements-dev.lock --output-file requirements.lock $(ARGS) >/dev/null
	@$(COMPILE) --extra build --extra all --constraint requirements-dev.lock --output-file requirements-all.lock $(ARGS) >/dev/null

lock-check: .venv/.installed ## fail when a lock is not what pyproject.toml asks for
	@! grep -n '://' $(LOCKS) || { echo 'a lock names a host: run "make lock"' >&2; exit 1; }
	@cp $(LOCKS) .venv/
	@$(COMPILE) --extra dev --output-file .venv/requirements-dev.lock >/dev/null
	@$(COMPILE) --extra build --constraint requirements-dev.lock --output-file .venv/requirements.lock >/dev/null
	@$(COMPILE) --extra build --extra all --constraint requirements-dev.lock --output-file .venv/requirements-all.lock >/dev/null
	@for lock in $(LOCKS); do diff $$lock .venv/$$lock || { echo "$$lock has drifted: run 'make lock'" >&2; exit 1; }; done

clean: ## remove what these targets made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*

# uv is the faster installer, no necessity: where it cannot be had, pip does the same from the same hashes.
# The build backend comes from the lock too, so the project itself is installed without isolation.
.venv/.installed: requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo '$(REMEDY)' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo '$(REMEDY)' >&2; exit 1; }
	@if $(PIP) uv; then \
	    $(UV) --require-hashes -r requirements-dev.lock && $(UV) --no-deps --no-build-isolation --editable .; \
	else \
	    $(PIP) --require-hashes -r requirements-dev.lock && $(PIP) --no-deps --no-build-isolation --editable .; \
	fi
	@touch $@
