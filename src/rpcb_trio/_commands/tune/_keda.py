"""A ScaledObject for KEDA, from what was measured."""

from __future__ import annotations

import json
import re

from rpcb_trio._commands._outputs import ms, rate
from rpcb_trio._measure import Scaling

TEXT = """\
# A worker answers {rate} requests/s with a {objective}, as measured and simulated.
# Latency is from the decoded request to its result; decode, encode and the broker add to it.
# Each worker needs, in its rpcb.toml:
#   max_batch_size = {size}
#   prefetch = {prefetch}
#   replicas = {replicas}
# and in its Deployment, for it may hold {prefetch} requests, which take {drain}:
#   RPCB_DRAIN_TIMEOUT: {drain_timeout}s
#   terminationGracePeriodSeconds: {grace}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {deployment}
spec:
  scaleTargetRef: {{name: {deployment}}}
  pollingInterval: 5
  cooldownPeriod: 300
  minReplicaCount: 1
  # {demand}: {needed} worker(s), and one more for when one is replaced.
  maxReplicaCount: {most}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown: {{stabilizationWindowSeconds: 300}}
  triggers:
    # Requests that come in, per second and worker. For a trigger of type prometheus: threshold: "{rate}"
    - type: rabbitmq
      metadata: {{protocol: http, queueName: {queue}, mode: MessageRate, value: "{rate}"}}
      authenticationRef: {{name: rpcb-rabbitmq}}
    # Requests that wait or are held, per worker: {rate}/s for {seconds} s. It is above the prefetch,
    # for a busy worker holds that many.
    - type: rabbitmq
      metadata: {{protocol: http, queueName: {queue}, mode: QueueLength, value: "{backlog}"}}
      authenticationRef: {{name: rpcb-rabbitmq}}
"""


def scaled_object(scaling: Scaling, queue: str, deployment: str) -> str:
    """YAML that kubectl applies, and that a kustomization takes as a patch."""
    setting = scaling.worker.setting
    return TEXT.format(
        rate=rate(scaling.rate),
        objective=scaling.objective,
        size=setting.max_batch_size,
        prefetch=setting.prefetch,
        replicas=setting.replicas,
        drain=ms(scaling.drain_seconds),
        drain_timeout=scaling.drain_timeout,
        grace=scaling.grace,
        demand=scaling.demand,
        needed=scaling.most_workers - 1,
        most=scaling.most_workers,
        queue=_quoted(queue),
        deployment=_quoted(deployment),
        seconds=f"{scaling.queue_seconds:g}",
        backlog=scaling.backlog,
    )


def _quoted(name: str) -> str:
    """A name of any characters as YAML."""
    return re.sub(r"[^ -~]", lambda found: f"\\U{ord(found[0]):08x}", json.dumps(name, ensure_ascii=False))
