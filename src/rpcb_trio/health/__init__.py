"""Probes over HTTP: whether the event loop turns, and whether the workers are ready.

    asr = HealthInstrument("asr")
    async with open_health_port(8080, [asr]), trio.open_nursery() as nursery:
        await nursery.start(partial(serve, service, url, "asr", instruments=[LogInstrument("asr"), asr]))

`GET /livez` is 200 whenever it is answered at all: the answer comes from the loop that serves the requests,
so a probe that gets none in time knows that the loop is stuck. `GET /readyz` is 200 if every worker consumes,
with its models warm and a broker that takes its replies, else 503. Both bodies are JSON with details.
`GET /metrics` is for Prometheus (see `rpcb_trio.metrics`). `POST /reload` has the process read its settings
again, if there is a `Control` for that.
"""

from rpcb_trio._public import publish
from rpcb_trio.health._control import Control, Reloaded
from rpcb_trio.health._port import HealthPort, open_health_port

__all__ = ["Control", "HealthPort", "Reloaded", "open_health_port"]

publish(__name__)
