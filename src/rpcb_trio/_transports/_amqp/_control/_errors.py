"""Errors of aiormq, asyncio and the system, each in one line with what the operator can do."""

from __future__ import annotations

import asyncio
import os
import ssl

from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ProbableAuthenticationError,
)

from rpcb_trio._shown import on_one_line
from rpcb_trio._transports._amqp._data._closing import Closing
from rpcb_trio._transports._amqp._url import Address
from rpcb_trio._transports._codec._frames import MalformedFrame
from rpcb_trio.errors import BrokerError, LoginRefused, SessionLost

NOT_OURS = (AMQPError, ChannelInvalidStateError, OSError, EOFError)
"""What asyncio code may raise when a connection ends, through no bug. `TimeoutError` is an `OSError`."""

UNTRUSTED_REMEDY = "cafile in the URL names the authority to trust"

CERTIFICATE_REMEDIES = {
    9: "check the clocks of both machines",
    10: "renew the broker's certificate, or check this machine's clock",
    62: "the URL's host must be a name that the broker's certificate bears",
    64: "the URL's host must be an address that the broker's certificate bears",
}
"""By what OpenSSL found (X509_V_ERR_...); for all else there is `UNTRUSTED_REMEDY`."""

NOT_ALLOWED = 530
"""The code with which a broker refuses a virtual host."""


def describe(exc: BaseException) -> str:
    """What the broker or the system said, in one line, else what the error's class says."""
    if isinstance(exc, BaseExceptionGroup):
        return describe(exc.exceptions[0])
    if isinstance(exc.__cause__, asyncio.IncompleteReadError):
        return "the broker hung up"
    for arg in reversed(exc.args):
        if isinstance(arg, str) and arg.strip():
            return on_one_line(
                " ".join(arg.split())
            )  # operators write several lines, and names hold anything
        if isinstance(arg, BaseException):  # aiormq cancels its tasks with the cause as the message
            return describe(arg)
    is_wordless = isinstance(exc, asyncio.CancelledError) or type(exc) is Exception
    return "the connection has closed" if is_wordless else type(exc).__name__


def open_error(exc: BaseException, address: Address, closing: Closing | None = None) -> BrokerError:
    """What a failed attempt to connect and log in means, if it ended with `closing`."""
    where = f"{address.host}:{address.port}"
    refusal = _refusal(exc, where, address)
    if refusal is not None:
        return LoginRefused(refusal)
    if closing is not None and closing.code:
        return _closed_at_open(closing, address)
    if isinstance(exc, MalformedFrame):
        return SessionLost(f"{where} does not speak AMQP 0-9-1; is it the right port?")
    if isinstance(exc.__cause__, asyncio.IncompleteReadError):
        return SessionLost(
            f"{where} hung up; is it AMQP's port, and does the URL of a TLS port say amqps://?"
        )
    return SessionLost(f"{where} can't be reached: {_system_said(exc)}; is RabbitMQ running there? check url")


def _refusal(exc: BaseException, where: str, address: Address) -> str | None:
    said = describe(exc).rstrip(".")
    tls = _tls_error(exc)
    if tls is not None:
        return f"TLS with {where} failed: {_tls_remedy(tls)}"
    if isinstance(exc, ProbableAuthenticationError) and address.login == "EXTERNAL":
        return f"{where} refused the client's certificate: {said}; check certfile and the user that it is for"
    if isinstance(exc, ProbableAuthenticationError):
        return f"{where} refused the user {address.user!r}: {said}; check user and password"
    if address.is_tls and isinstance(exc.__cause__, asyncio.IncompleteReadError | ConnectionError):
        # Over TLS 1.3 a server looks at a client's certificate when that has long begun to speak, and its
        # refusal may be lost. Errors of the handshake itself have no such cause.
        return (
            f"{where} hung up once TLS was agreed on; it may require a client's certificate that it trusts: "
            "name it with certfile and keyfile in the URL"
        )
    if isinstance(exc, AuthenticationError):
        return f"{where} offers other ways to log in than asked for: {said}; check auth in the URL"
    return None


def _system_said(exc: BaseException) -> str:
    if isinstance(exc.__cause__, ExceptionGroup):  # one for each of the host's addresses
        exc = exc.__cause__.exceptions[0]
    if isinstance(exc, OSError) and exc.errno is not None and exc.errno > 0:
        return os.strerror(exc.errno)
    return describe(exc)


def _closed_at_open(closing: Closing, address: Address) -> BrokerError:
    said = f"{address.host}:{address.port} closed the connection: {closing.code} {closing.why}"
    if closing.code == NOT_ALLOWED and "limit" not in closing.why:
        return LoginRefused(
            f"{said}; check the virtual host in the URL, and that {address.user!r} may use it"
        )
    return SessionLost(said)  # too many connections, a virtual host that restarts: it may pass


def _tls_error(exc: BaseException) -> ssl.SSLError | None:
    cause: BaseException | None = exc
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__
    return cause


def _tls_remedy(exc: ssl.SSLError) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        said = exc.verify_message.rstrip(".")
        return f"{said}; {CERTIFICATE_REMEDIES.get(exc.verify_code, UNTRUSTED_REMEDY)}"
    reason = exc.reason or str(exc)
    if reason == "WRONG_VERSION_NUMBER":
        return "that port does not speak TLS; use amqp:// or the TLS port (5671)"
    if "CERTIFICATE_REQUIRED" in reason:
        return "the broker requires a client's certificate: name it with certfile and keyfile in the URL"
    if "ALERT" in reason:
        return (
            f"{reason}; the broker may not trust the client's certificate (certfile and keyfile in the URL)"
        )
    return f"{reason}; certfile and keyfile in the URL name a client's certificate"
