"""OAuth 2 tokens (JSON web tokens, RFC 7519, signed with HMAC-SHA256), which the tests' node takes."""

from __future__ import annotations

import base64
import hmac
import time

import msgspec

from tests.rabbitmq import TOKEN_KEY

ALL = "rabbitmq.configure:*/* rabbitmq.read:*/* rabbitmq.write:*/*"
READ_ONLY = "rabbitmq.configure:*/* rabbitmq.read:*/*"


def _encoded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def token(scope: str) -> str:
    """A token for an hour."""
    head = {"alg": "HS256", "typ": "JWT", "kid": "tests"}
    claims = {"aud": ["rabbitmq"], "scope": scope, "sub": "worker", "exp": int(time.time()) + 3600}
    signed = b".".join(_encoded(msgspec.json.encode(part)) for part in (head, claims))
    return b".".join([signed, _encoded(hmac.digest(TOKEN_KEY.encode(), signed, "sha256"))]).decode()
