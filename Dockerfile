# The recipes with what requirements.lock pins, hashes checked, for machines with NVIDIA GPUs and for those without:
#
#     docker build -t zero-recipes .
#     docker run --rm --gpus all --ipc=host zero-recipes recipes doctor
#
# The CUDA libraries come with the lock; of the machine it needs the driver alone (and NVIDIA's container toolkit). What to mount,
# and Podman, SLURM and the limits of a container: docs/cluster.md. What is copied is listed in .dockerignore.

ARG BASE=docker.io/library/debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171
FROM ${BASE}

# g++, ninja and Python's headers compile what Triton and DeepSpeed's CPU Adam make at the first use.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates g++ make ninja-build python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /zero-recipes

# By itself, before the code: a change of the code does not install the packages (7 GB) again.
COPY Makefile requirements.lock ./
RUN UV_NO_CACHE=1 make .venv/packages

COPY . .
RUN UV_NO_CACHE=1 make install

# Not root, and as whoever `--user` names: a user without an entry in /etc/passwd has neither a name nor a home, which torch asks for.
ENV USER=trainer HOME=/home/trainer HF_HOME=/cache/huggingface PATH=/zero-recipes/.venv/bin:$PATH
RUN useradd --uid 1000 trainer && install --directory --mode 1777 "$HOME" /cache "$HF_HOME" outputs
USER trainer

CMD ["recipes", "doctor"]
