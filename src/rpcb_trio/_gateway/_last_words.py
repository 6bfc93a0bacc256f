"""The end of a response, which nothing interrupts."""

from __future__ import annotations

import anyio
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class LastWords:
    """Middleware that shields the last message of each response.

    Within it hypercorn turns to the connection's next request, or hangs up, and tells the app that this one
    is over; at which Starlette's responses of files and streams cancel what they are doing: that message.
    The connection would be left open for good, and a drain would wait for it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""

        async def send_to_the_end(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            is_short = len(message.get("body", b"")) <= FileResponse.chunk_size  # others come from no stream
            with anyio.CancelScope(shield=is_last and is_short):
                await send(message)

        await self._app(scope, receive, send_to_the_end)
