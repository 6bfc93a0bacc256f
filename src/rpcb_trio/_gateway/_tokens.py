"""Tokens (JWT, RFC 7519) of an issuer whose keys are known: in a file, or at a URL (JWKS)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from rpcb_trio._gateway._problems import Problem
from rpcb_trio._shown import shown
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from jwt import PyJWK

log = logging.getLogger("rpcb_trio")

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that are made with a key which the gateway does not have."""

FETCH_TIMEOUT = 5.0
"""Seconds for the keys to come."""

FRESH = 3600.0
"""Seconds after which they are fetched again: an issuer may have taken one back."""

PAUSE = 30.0
"""Seconds between two fetches, however many tokens name a key that is not there."""

LEEWAY = 30.0
"""Seconds by which clocks may differ."""

LONGEST_SUBJECT = 255

WHY = {
    "ExpiredSignatureError": "it has expired",
    "ImmatureSignatureError": "it is not valid yet",
    "InvalidAudienceError": "it is for another audience",
    "InvalidIssuerError": "it is of another issuer",
    "InvalidAlgorithmError": "it is signed with an algorithm that is not taken",
    "MissingRequiredClaimError": "it lacks exp, iss, aud or sub",
}
"""By the names of PyJWT's errors; their texts may quote the token."""


def tokens_of(
    keys: str | None, issuer: str | None, audience: str | None, algorithms: tuple[str, ...]
) -> Tokens | None:
    """What verifies tokens, as the settings `jwt_...` say; None where none are taken.

    Raises:
        SettingError: they are wrong, or don't go together.
    """
    for name, value in (("jwt_issuer", issuer), ("jwt_audience", audience)):
        if keys is None and value is not None:
            raise SettingError(f"{name} is set, but jwt_keys is not; set both or none")
        if keys is not None and not value:
            raise SettingError(f"jwt_keys is set, but {name} is not, and others' tokens would do; set it")
    if keys is None:
        return None
    return Tokens(keys, issuer=issuer or "", audience=audience or "", algorithms=algorithms)


class Tokens:
    """Verifies tokens.

    Args:
        keys: a public key in PEM, or the URL of a JWKS.
        issuer: `iss` of each token.
        audience: what `aud` of each must name.
        algorithms: how they may be signed.

    Raises:
        SettingError: one of these can't be, or PyJWT is not installed.
    """

    def __init__(self, keys: str, *, issuer: str, audience: str, algorithms: tuple[str, ...]) -> None:
        try:
            import jwt  # noqa: PLC0415 - an extra
        except ImportError:
            raise SettingError("jwt_keys needs PyJWT; install it with pip install 'rpcb-trio[jwt]'") from None
        if wrong := [each for each in algorithms if each not in ALGORITHMS]:
            raise SettingError(f"jwt_algorithm is {wrong[0]}; choose among {', '.join(ALGORITHMS)}")
        self._jwt = jwt
        self._url = keys if is_url(keys) else None
        self._key = None if is_url(keys) else _public_key(keys)
        self._decode = partial(
            jwt.decode,
            algorithms=list(algorithms),
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        self._fetched: Mapping[str | None, PyJWK] = {}
        self._fetched_at = self._tried_at = -math.inf
        self._fetching = anyio.Lock()

    async def subject_of(self, token: str) -> str:
        """Whose token it is.

        Raises:
            ValueError: it is not valid; the text says why, and quotes nothing of it.
            Problem: 503, the issuer's keys can't be had.
        """
        try:
            key: Any = self._key if self._url is None else await self._key_of(token, self._url)
            subject = self._decode(token, key)["sub"]
        except self._jwt.InvalidTokenError as error:
            raise ValueError(WHY.get(type(error).__name__, "it can't be verified")) from None
        if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
            raise ValueError("its sub is empty, or very long")
        return subject

    async def _key_of(self, token: str, url: str) -> PyJWK:
        kid = self._jwt.get_unverified_header(token).get("kid")
        if kid not in self._fetched or anyio.current_time() - self._fetched_at > FRESH:
            await self._fetch(url)
        if not self._fetched:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "no-keys", "the keys of tokens can't be had; try again later"
            )
        if kid is None and len(self._fetched) == 1:
            return next(iter(self._fetched.values()))
        if kid not in self._fetched:
            raise self._jwt.InvalidTokenError
        return self._fetched[kid]

    async def _fetch(self, url: str) -> None:
        async with self._fetching:
            if anyio.current_time() - self._tried_at < PAUSE:
                return
            self._tried_at = anyio.current_time()
            client = self._jwt.PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_TIMEOUT)
            try:
                fetched = await anyio.to_thread.run_sync(client.get_signing_keys, abandon_on_cancel=True)
            except Exception as error:  # noqa: BLE001 - whatever comes from there
                log.warning("gateway: the keys of tokens can't be fetched: %s", shown(str(error)))
                return
            self._fetched = {each.key_id: each for each in fetched}
            self._fetched_at = anyio.current_time()


def is_url(keys: str) -> bool:
    """Whether the keys are at a URL.

    Raises:
        SettingError: anybody on the way could change them.
    """
    if "://" not in keys.partition("\n")[0]:
        return False
    parts = urlsplit(keys)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")):
        return True
    raise SettingError(f"jwt_keys is {shown(keys)}; write it as https://, or name a file")


def _public_key(text: str) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415 - an extra

    try:
        return load_pem_public_key(text.encode())
    except ValueError:
        raise SettingError("jwt_keys holds no public key in PEM; it begins with BEGIN PUBLIC KEY") from None
