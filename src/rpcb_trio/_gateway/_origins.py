"""Pages of other origins, which browsers let send forms though not read what comes of them."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.requests import Request

from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem

OWN = ("same-origin", "none")
"""Of `Sec-Fetch-Site` (W3C Fetch Metadata): our own page, or the person that uses the browser."""


def refuse_foreign_page(request: Request, options: GatewayOptions) -> None:
    """Refuse a request that a page of another origin has sent, unless `cors` names that; programs name none.

    Raises:
        Problem: 403.
    """
    origin = request.headers.get("origin")
    if origin is None or origin in options.cors or "*" in options.cors:
        return
    site = request.headers.get("sec-fetch-site")
    hosts = (request.headers.get("host"), _netloc(options.public_url or ""))
    netloc = _netloc(origin)
    is_own = (netloc is not None and netloc in hosts) if site is None else site in OWN
    if not is_own:
        why = f"pages of {origin[:80]} may not call; start the gateway with --cors {origin[:80]}"
        raise Problem(HTTPStatus.FORBIDDEN, "origin", why)


def _netloc(url: str) -> str | None:
    try:
        return urlsplit(url).netloc or None
    except ValueError:  # browsers send no such origin
        return None
