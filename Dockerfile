# Does in an image what the Makefile does on a machine: `make install`, then the worker.
FROM python:3.12-slim

RUN apt-get update \
 && apt-get install -y --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE Makefile ./
COPY src src
ARG EXTRAS=asr
RUN make install EXTRAS=$EXTRAS
COPY models models

RUN useradd --no-create-home worker
USER worker
STOPSIGNAL SIGTERM
ENTRYPOINT [".venv/bin/python", "-m", "rpcb_trio"]
CMD ["--help"]
