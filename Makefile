# setup | demo | test | test-all | lint | bench | clean
#
# Every target does the set-up it needs; nothing is done twice while its inputs stay the same.
# Variables:  PYTHON=python3.12   TORCH='torch==2.13.0'   TORCH_INDEX=<index address of a CUDA or CPU build>
#             BAG=<recording>     SEGMENTER=<hub id or path>     ARGS=<more arguments for pytest, the demo or bench>

PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
BAG ?=
SEGMENTER ?=
ARGS ?=

VENV := $(CURDIR)/.venv
PYTEST := tools/in_workspace.sh $(VENV)/bin/python -m pytest
# Two makes in one checkout would build into the same folders: the second waits.
LOCKED := flock $(CURDIR)/Makefile

# What the environment is made from: another Python or another torch gives another name, and so a new environment.
WHICH_PYTHON := $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.base_prefix)' 2>/dev/null
WHICH_CHOICE := { echo '$(TORCH) $(TORCH_INDEX)'; $(WHICH_PYTHON); } | cksum | cut -d' ' -f1
CHOICE := $(shell $(WHICH_CHOICE))
ENVIRONMENT := .venv/ready-$(CHOICE)
CONSTRAINTS := $(wildcard constraints/py$(firstword $(shell $(WHICH_PYTHON))).txt)
WORKSPACE := install/.ready
# Folders are listed too: their time changes when a file is removed.
SOURCES := package.xml CMakeLists.txt tools/ros_executable.py.in \
           $(shell find msg gnesf_model gnesf_ros config launch -name __pycache__ -prune -o -print 2>/dev/null)

.PHONY: setup demo test test-all lint bench pins clean

setup: $(WORKSPACE)

$(ENVIRONMENT): setup.py package.xml $(CONSTRAINTS) tools/ros_jazzy.txt tools/venv.sh tools/wheel_cmake.py tools/message_packages.sh
	@tools/system_packages.sh $(PYTHON)
	@$(LOCKED) tools/venv.sh $(VENV) $(PYTHON) '$(TORCH)' '$(TORCH_INDEX)'
	@# Two names, because they differ where Python itself was missing when make began.
	@rm -f .venv/ready-* && touch $@ .venv/ready-$$($(WHICH_CHOICE))

$(WORKSPACE): $(ENVIRONMENT) $(SOURCES)
	@$(LOCKED) tools/workspace.sh $(VENV)
	@touch $@

demo: setup
	tools/in_workspace.sh $(VENV)/bin/gnesf demo $(if $(BAG),--bag '$(BAG)') $(if $(SEGMENTER),--segmenter '$(SEGMENTER)') $(ARGS)

# 20 minutes or so on two cores.
test: setup
	$(PYTEST) -m 'not slow and not gpu' $(ARGS)

# Everything, and the model once more with NumPy 1, which apt's ROS and Jetson bring. At most an hour.
test-all: setup
	$(PYTEST) $(ARGS)
	tools/test_numpy1.sh $(PYTHON) '$(TORCH)' '$(TORCH_INDEX)'

lint: $(ENVIRONMENT)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

bench: setup
	tools/in_workspace.sh $(VENV)/bin/python -m benchmark.run $(ARGS)

# For maintainers: constraints/ for the Python given as PYTHON, with today's versions.
pins:
	$(PYTHON) tools/pins.py '$(TORCH)'

clean:
	rm -rf .venv .venv-numpy1 build install log demo_out *.egg-info .pytest_cache .ruff_cache .hypothesis
