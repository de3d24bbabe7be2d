# The two commands of the README are `make sweep` and `make test`; both make their own environment.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# Without a GPU: make sweep PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=
PIP := $(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_ARGS)
SOAK := UNICLIP_SOAK=1 UNICLIP_SLURM=required $(RUN) -m pytest -m soak
export OMP_NUM_THREADS ?= 1

.PHONY: sweep truth test slow slurm exports soak check docs reference bench device fashion-mnist clean

sweep: $(VENV)/.installed
	$(RUN) sweep.py ablation=components $(ARGS)

truth: $(VENV)/.installed
	$(RUN) sweep.py ablation=truth $(ARGS)

test: $(VENV)/.installed-test
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# The tests of half a minute and more that `make test` leaves out.
slow: $(VENV)/.installed-test
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow $(ARGS)

# Each of the two processes starts a cluster of its own.
slurm: $(VENV)/.installed-test
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(or $(ARGS),tests/slurm)

# With the libraries of all targets, and a server of MLflow; `make test` skips these tests.
exports: $(VENV)/.installed-exports
	UNICLIP_EXPORTS=required $(RUN) -m pytest $(or $(ARGS),tests/analysis/exports)

# Two calls: given both paths, pytest takes tests/slurm for a part of tests, and skips it.
soak: $(VENV)/.installed-test
	$(SOAK) $(or $(ARGS),tests/slurm)
	$(if $(ARGS),,$(SOAK) tests)
	$(if $(ARGS),,$(MAKE) exports)

check: $(VENV)/.installed-check
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(VENV)/.installed-docs
	$(RUN) docs/generate_reference.py --check
	$(RUN) docs/generate_studies.py --check
	$(VENV)/bin/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs
	@echo "docs: build/docs/index.html"

reference: $(VENV)/.installed
	$(RUN) docs/generate_reference.py
	$(RUN) docs/generate_studies.py

bench: $(VENV)/.installed-bench
	$(RUN) -m tests.benchmarks $(ARGS)

# Needs a GPU; without one it says so and ends.
device: $(VENV)/.installed-test
	$(RUN) -m tests.test_device $(ARGS)

fashion-mnist: $(VENV)/.installed-test
	$(RUN) -m tests.fashion_mnist $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV) (some minutes and 6 GB the first time) ..."
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable ".[test]"
	touch $@

# CLIP_benchmark is what our scores are compared with; only those of its dependencies that are used.
$(VENV)/.installed-bench: $(VENV)/.installed-test
	$(PIP) --no-deps "clip-benchmark==1.6.*"
	touch $@

# trackio asks for pillow<13 and the whole of mlflow, which has the server, for pandas<3; the parts in
# use work with newer ones, so both are installed without their dependencies, which come before.
EXPORT_LIBRARIES := brotli gradio-client orjson python-multipart starlette "uvicorn[standard]" \
    flask flask-cors "graphene<4" cryptography docker huey gunicorn alembic "aiohttp<4"
$(VENV)/.installed-exports: $(VENV)/.installed-test
	$(PIP) --editable ".[test,export]" $(EXPORT_LIBRARIES)
	$(PIP) --no-deps trackio mlflow mlflow-tracing
	touch $@

$(VENV)/.installed-check: $(VENV)/.installed
	$(PIP) --editable ".[test,check]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) --editable ".[docs]"
	touch $@
