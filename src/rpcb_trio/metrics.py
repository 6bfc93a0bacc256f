"""Metrics for Prometheus. Needs `rpcb-trio[metrics]`.

    asr = HealthInstrument("asr")
    instruments = [LogInstrument("asr"), asr, MetricsInstrument()]
    async with (
        open_health_port(8080, [asr], metrics=prometheus_client.REGISTRY),
        open_worker(service, url, "asr", instruments=instruments),
    ):
        ...

`GET /metrics` on that port then shows what the worker does, beside all that the program itself counts with
prometheus_client.
"""

from rpcb_trio._public import publish

try:
    from rpcb_trio._metrics import MetricsInstrument
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"metrics need {_error.name}; install it with pip install 'rpcb-trio[metrics]'", name=_error.name
    ) from _error

__all__ = ["MetricsInstrument"]

publish(__name__)
