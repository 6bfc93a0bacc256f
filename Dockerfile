# Does in an image what the Makefile does on a machine: `make install`, then the worker.
FROM python:3.12-slim

RUN apt-get update \
 && apt-get install -y --no-install-recommends make tini \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE Makefile ./
COPY src src
COPY models models
ARG EXTRAS=asr
RUN make install EXTRAS=$EXTRAS

# By its number, for Kubernetes' runAsNonRoot knows no names.
RUN useradd --no-create-home --uid 10001 worker
USER 10001
STOPSIGNAL SIGTERM
# Probes come from outside the container too: GET /livez and /readyz.
ENV RPCB_HEALTH_HOST=0.0.0.0 RPCB_HEALTH_PORT=8080
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 \
  CMD [".venv/bin/python", "-m", "rpcb_trio", "health"]
# Process 1 is an init: it collects what a model's processes leave behind when they end.
ENTRYPOINT ["/usr/bin/tini", "--", ".venv/bin/python", "-m", "rpcb_trio"]
CMD ["--help"]
