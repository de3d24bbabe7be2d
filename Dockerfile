# An image without CUDA: PyTorch's CPU build, a few hundred MB instead of several GB.
#   docker build -t uniclip .
#   docker run --rm -v "$PWD/store:/work/store" uniclip ablation=components budget=smoke
# With GPUs, build with --build-arg PIP_ARGS= and run with --gpus all.
FROM python:3.11-slim-bookworm

ARG PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
RUN apt-get update \
    && apt-get install --no-install-recommends --yes git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/uniclip
COPY pyproject.toml constraints.txt README.md LICENSE sweep.py ./
COPY uniclip ./uniclip
COPY ablations ./ablations
COPY analysis ./analysis
COPY sweeps ./sweeps
RUN pip install --no-cache-dir --constraint constraints.txt ${PIP_ARGS} .
RUN useradd --create-home researcher && mkdir /work && chown researcher /work
USER researcher
WORKDIR /work
ENV OMP_NUM_THREADS=1
ENTRYPOINT ["uniclip-sweep"]
CMD ["--help"]
