# Onward's container image: one worker, or any other `onward` command.
#
# The base is a Debian (or a derivative) whose `python3` is 3.11 or newer and brings venv. Where images are deployed,
# give it with its digest: --build-arg BASE=docker.io/library/python:3.12-slim-bookworm@sha256:...
ARG BASE=docker.io/library/python:3.12-slim-bookworm


FROM ${BASE} AS builder

# A compiler, because faust-streaming has no wheels for arm64; it links zlib. Versions are the base's: Debian removes
# old ones, so a pinned one would break the build at the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /build

# The dependencies before the source, so that a changed source leaves this layer as it is. What is deployed has no
# pip: it is filled from outside.
COPY requirements/build.lock requirements/runtime.lock requirements/
RUN python3 -m venv tools \
    && python3 -m venv --without-pip /opt/onward \
    && tools/bin/pip install --require-hashes --requirement requirements/build.lock \
    && tools/bin/pip --python /opt/onward/bin/python install --require-hashes --requirement requirements/runtime.lock

COPY LICENSE pyproject.toml ./
COPY models models
COPY service service
# pip compiles to bytecode as it installs, which a read-only file system could not be given later.
RUN tools/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
    && tools/bin/pip --python /opt/onward/bin/python install --no-deps --no-index dist/*.whl


FROM ${BASE} AS runtime

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="onward" \
      org.opencontainers.image.description="Online learning over Kafka streams: a recurrent network per series, learned by exact real-time recurrent learning" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# A number, not only a name, so that an orchestrator can see that it is not root.
RUN groupadd --gid 10001 onward \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/onward --shell /usr/sbin/nologin onward \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/onward

COPY --from=builder /opt/onward /opt/onward

# One thread per process: sums in one order, so that a restart changes no bit, and one worker a core.
ENV PATH=/opt/onward/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OPENBLAS_NUM_THREADS=1 \
    OMP_NUM_THREADS=1 \
    MKL_NUM_THREADS=1 \
    NUMBA_NUM_THREADS=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    ONWARD_HTTP__HOST=0.0.0.0 \
    ONWARD_HTTP__PORT=8080

USER 10001:10001
WORKDIR /var/lib/onward
EXPOSE 8080
STOPSIGNAL SIGTERM

# http.client, because urllib would ask a proxy that the environment names. -S leaves site-packages out: it starts at once.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["/opt/onward/bin/python", "-I", "-S", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['ONWARD_HTTP__PORT']), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["onward"]
CMD ["worker"]
