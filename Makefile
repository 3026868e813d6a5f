# make demo      install what is missing and train: a tiny model on a machine without a GPU, Qwen2.5-1.5B with GPUs
# make test      the tests that need no GPU, hub or network, within 12 minutes on 2 cores
# make test-all  the same and the full learning runs
# make learn     each recipe's tiny run once, to its end: fails if one does not learn (about 15 minutes on 2 cores)
# make real-model  a pretrained model of 135 million parameters from the package registry, into pretrained/, once
# make test-real   the tests that need it (about three minutes on one core)
# make lint      ruff, the layers of common/, and the documentation's strict build
# make campaign  a hundred runs killed at random moments and continued: none may end with other weights (about an hour on 2 cores),
#                and the tests that take longest: every recipe in every way that the others try with some
# make browser   Chromium, for the tests that look at pages (Debian, as root); they are skipped without one
# make newest    the tests with the newest versions of everything, in an environment of their own (.venv-newest)
# make old-reader  what an export is to transformers 4.57, on which many engines are built (.venv-old, beside .venv's torch)
# make other-engines  what an export says in llama.cpp, MLX and lm-evaluation-harness (.venv-engines; needs a compiler, ten minutes)
# make lock      pin the newest versions that pyproject.toml allows

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

# Without a GPU, say so to the launcher too; it would warn that it found none.
ifeq ($(shell command -v nvidia-smi),)
export DS_ACCELERATOR := cpu
endif

# Prints where an environment has its packages.
PURELIB := 'import sysconfig; print(sysconfig.get_path("purelib"))'

# mkdocs-material announces its successor at every build.
export NO_MKDOCS_2_WARNING := 1

.PHONY: install demo demo-smoke test test-all learn real-model test-real campaign browser newest old-reader other-engines lint docs lock

install: $(VENV)/installed

# The packages without the project: the Dockerfile keeps them in a layer of their own.
# uv itself is taken from the lock as well, its hash checked by pip.
$(VENV)/packages: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; make PYTHON=python3.12")'
	@echo "Installing into $(VENV) (about 7 GB, once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@awk '/^uv==/,!/\\$$/' requirements.lock > $(VENV)/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.lock
	@$(BIN)/uv pip install $$(test -t 2 || echo --quiet) --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@touch $@

$(VENV)/installed: $(VENV)/packages pyproject.toml
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: install
	accelerate launch --config_file accelerate_configs/zero3.yaml recipes/grpo_math/train.py

# The demo shortened to its parts: a few steps, a few problems, every file of a run.
demo-smoke: install
	accelerate launch --config_file accelerate_configs/zero3.yaml recipes/grpo_math/train.py \
	    --max_steps 10 --num_held_out 100 --output_dir outputs/smoke

test: install
	python -m pytest -n 2 --durations=15 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu and not real"

test-all: install
	python -m pytest -n 2 --durations=15 --dist loadfile --no-loadscope-reorder -m "not gpu and not campaign"

# LEARN="sft_instruct --flags --learning_rate 0" runs one, with other settings: this one must fail.
learn: install
	rm -rf outputs/learn
	python benchmarks/learn.py $(LEARN)

# Once; offline and nothing to do afterwards.
real-model: install
	python benchmarks/real_model.py

test-real: real-model
	python -m pytest -m "real and not slow"

campaign: install
	python -m tests.reliability.campaign --kills 100
	python -m pytest -n 2 -m campaign

browser:
	command -v chromium > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }

# Without upper bounds: what a library has announced to change is tried before it is allowed.
newest: install
	uv venv --quiet --clear .venv-newest
	sed -E 's/(>=[^",]*), *<[^",]*/\1/' pyproject.toml > .venv-newest/pyproject.toml
	uv pip install --quiet --python .venv-newest/bin/python --upgrade --extra dev --extra serve --extra trackers -r .venv-newest/pyproject.toml
	uv pip install --quiet --python .venv-newest/bin/python --no-deps --editable .
	.venv-newest/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu and not real"

# What it does not find of its own, such as torch, it takes from .venv, which stands behind it in the path.
old-reader: install
	uv venv --quiet --clear --python $(BIN)/python .venv-old
	uv pip install --quiet --python .venv-old/bin/python --no-deps \
	    "transformers==4.57.6" "tokenizers>=0.22,<=0.23.0" "huggingface-hub>=0.34,<1" "minijinja>=2"
	$(BIN)/python -c $(PURELIB) > $$(.venv-old/bin/python -c $(PURELIB))/behind.pth
	python -m pytest tests/reliability/test_older_readers.py

# pip keeps what it has built; the converter is in the source alone. torch is that of .venv, as above.
other-engines: real-model
	uv venv --quiet --clear --python $(BIN)/python .venv-engines
	python -m pip --python .venv-engines/bin/python install --quiet llama-cpp-python sentencepiece lm_eval mlx-lm "mlx[cpu]"
	$(BIN)/python -c $(PURELIB) > $$(.venv-engines/bin/python -c $(PURELIB))/behind.pth
	python -m pip download --quiet --no-deps --no-binary llama-cpp-python --dest .venv-engines llama-cpp-python
	tar --extract --gzip --strip-components 1 --directory .venv-engines --file .venv-engines/llama_cpp_python-*.tar.gz \
	    --wildcards '*/vendor/llama.cpp'
	python -m pytest tests/e2e/test_other_engines.py

lint: install
	ruff check
	ruff format --check
	lint-imports --no-logo --no-cache
	mkdocs build --quiet --strict

docs: install
	mkdocs serve

lock: install
	uv pip compile pyproject.toml --extra dev --extra serve --extra trackers --universal --generate-hashes --no-annotate --no-header \
	    --python-version 3.11 --upgrade --quiet --output-file requirements.lock
