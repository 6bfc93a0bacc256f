"""OpenAI's own client, of an app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from openai import AsyncOpenAI


@asynccontextmanager
async def asking(app: Any, *, key: str = "none", max_retries: int = 0) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client of an app, without any network."""
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app))
    url = "http://gateway/v1"
    async with AsyncOpenAI(base_url=url, api_key=key, http_client=http, max_retries=max_retries) as client:
        yield client
