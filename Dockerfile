# syntax=docker/dockerfile:1
#
# One image for all roles:
#
#   docker build -t driftline .
#   docker run --read-only --tmpfs /run/driftline:uid=10001 --tmpfs /var/lib/driftline:uid=10001 \
#       --tmpfs /tmp driftline judge --help
#
# EXTRAS: `fast` compiles the decoder (numba); `fast,embedded` adds chDB (some 500 MB), for
# `driftline up` and `driftline demo` in a container.

ARG PYTHON=python:3.13-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /source
RUN python -m venv /opt/driftline
ARG EXTRAS=fast
# What changes seldom comes first: the dependencies are a layer of their own.
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
RUN python -c 'import sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
wanted = [e for e in sys.argv[1].split(",") if e]; \
print("\n".join(p["dependencies"] + [d for e in wanted for d in p["optional-dependencies"][e]]))' \
    "${EXTRAS}" > /tmp/requirements.txt \
    && /opt/driftline/bin/pip install --only-binary :all: --constraint constraints.txt \
    --requirement /tmp/requirements.txt
COPY detectors detectors
COPY sinks sinks
COPY dashboards dashboards
COPY deploy deploy
COPY examples examples
COPY streams streams
# Tests, headers and static libraries of dependencies, and Arrow's Flight, are of no use to a running
# role.
RUN /opt/driftline/bin/pip install --no-deps . \
    && /opt/driftline/bin/pip uninstall --yes pip \
    && find /opt/driftline/lib -type d \( -name tests -o -name include \) -prune -exec rm -rf {} + \
    && find /opt/driftline/lib -type f \( -name '*.a' -o -name '*.h' -o -name '*.py[xi]' -o -name '*.pxd' \
    -o -name '*arrow_flight*' -o -name '_flight*' \) -delete \
    && /opt/driftline/bin/python -m compileall -q -j 0 /opt/driftline/lib \
    && /opt/driftline/bin/python -c "import streams.summarize, streams.judge_app, streams.deliver_app, \
streams.store, streams.serve, streams.profile"

FROM ${PYTHON}
LABEL org.opencontainers.image.title="driftline" \
      org.opencontainers.image.description="Streaming drift and model-health monitoring that decides" \
      org.opencontainers.image.licenses="Apache-2.0"
# A number, so that Kubernetes can see that it is not root. /run/driftline says that the role is
# ready, Faust makes an empty folder in /var/lib/driftline, /var/cache/driftline keeps the compiled
# decoder: all three may be mounts, and nothing else is written but /tmp.
RUN groupadd --gid 10001 driftline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent driftline \
    && install -d -o 10001 -g 10001 -m 0700 /run/driftline /var/cache/driftline /var/lib/driftline
COPY --from=build /opt/driftline /opt/driftline
COPY --chmod=0555 deploy/container/start deploy/container/healthy /usr/local/bin/
ENV PATH=/opt/driftline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DRIFTLINE_LOG_FORMAT=json \
    DRIFTLINE_READY_FILE=/run/driftline/ready \
    NUMBA_CACHE_DIR=/var/cache/driftline
WORKDIR /var/lib/driftline
USER 10001:10001
EXPOSE 8780 9464
HEALTHCHECK --interval=15s --timeout=5s --start-period=90s --retries=4 CMD ["/usr/local/bin/healthy"]
ENTRYPOINT ["/usr/local/bin/start"]
CMD ["--help"]
