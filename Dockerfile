# syntax=docker/dockerfile:1
# The worker, the gateway and every other command, with the services of models/:
#
#   docker build -t rpcb-trio .
#   docker build -t rpcb-trio:gpu --build-arg EXTRAS=torch --build-arg TORCH_INDEX= .
#
# docs/how-to/deploy.md says how to put a service of your own into it.
ARG DEBIAN=trixie

FROM debian:${DEBIAN}-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/rpcb
ENV PATH=/opt/rpcb/bin:$PATH
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
COPY models models
# What is installed of pyproject.toml's extras, besides metrics.
ARG EXTRAS=asr,gateway
# Where torch comes from, if an extra needs it: built for the processor alone. Empty, it is built for CUDA, and ten times as large.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir wheels . ./models \
 && pip install --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url $TORCH_INDEX} \
    "$(echo wheels/rpcb_trio-*.whl)[metrics${EXTRAS:+,$EXTRAS}]" wheels/rpcb_trio_models-*.whl

FROM debian:${DEBIAN}-slim
# tini is process 1: it passes SIGTERM on, and collects what a model's processes leave behind when they end.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 tini \
 && rm -rf /var/lib/apt/lists/*
# By its number, for Kubernetes' runAsNonRoot knows no names. The directory is the death journal's: put a volume there.
RUN groupadd --gid 10001 worker \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp worker \
 && install --directory --owner 10001 --group 10001 --mode 700 /var/lib/rpcb-trio
COPY --from=build /opt/rpcb /opt/rpcb
# Probes come from outside the container too: GET /livez and /readyz.
ENV PATH=/opt/rpcb/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 \
    XDG_STATE_HOME=/var/lib RPCB_HEALTH_HOST=0.0.0.0 RPCB_HEALTH_PORT=8080
EXPOSE 8080
# Modules of services are found here.
WORKDIR /srv
USER 10001
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 CMD ["rpcb-trio", "health"]
ENTRYPOINT ["/usr/bin/tini", "--", "rpcb-trio"]
CMD ["--help"]
