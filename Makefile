# `make demo` and `make test` do all their set-up themselves.
PYTHON ?= python3
TESTS ?= tensorflow jax any torch

.PHONY: demo test test-any wheel format clean

demo: .venv/installed
	rm -rf runs/demo
	KERAS_BACKEND=tensorflow .venv/bin/keras-ssgan train --dataset digits \
		--preset compact --baseline --output runs/demo

# Two at a time, the longest first: those of one backend keep one core busy.
test: .venv-test/installed
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	-.venv-test/bin/python -m keras_ssgan.demo.vendor
	.venv-test/bin/mypy
	$(MAKE) --jobs=2 --keep-going --output-sync=target $(TESTS:%=test-%)

test-%: .venv-test/installed
	KERAS_BACKEND=$* .venv-test/bin/python -m pytest -m 'not any_backend'

# What no backend has a part in, under the one that starts soonest.
test-any: .venv-test/installed
	KERAS_BACKEND=torch .venv-test/bin/python -m pytest -m any_backend

# With what runs the models in the browser, which a clone has not.
wheel: .venv-test/installed
	rm -rf build
	.venv-test/bin/python -m keras_ssgan.demo.vendor
	.venv-test/bin/pip wheel --no-deps --wheel-dir dist .

format: .venv-test/installed
	.venv-test/bin/ruff check --fix .
	.venv-test/bin/ruff format .

clean:
	rm -rf .venv .venv-test runs build *.egg-info

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt \
		--editable '.[tensorflow]'
	touch $@

.venv-test/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/pip install --quiet --constraint constraints.txt \
		--editable '.[tensorflow,jax,torch,dev]'
	touch $@
