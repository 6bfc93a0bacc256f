"""TLS as the URL asks for it. Verification is on, by the system's authorities unless the URL names others."""

from __future__ import annotations

import ssl
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rpcb_trio._transports._amqp._url import AUTHORITY_OPTIONS, CERTIFICATE_OPTIONS, Address
from rpcb_trio.errors import SettingError


def tls_context(address: Address) -> ssl.SSLContext:
    """Read the files that the URL names; it blocks. Each connection reads them, so they may be renewed.

    Raises:
        SettingError: one of them can't be used.
    """
    for name in ("cafile", "capath", *CERTIFICATE_OPTIONS):
        with _naming_options(address, [name]):
            _check_there(address.option(name))
    context = _trusting(address)
    certificate = address.option("certfile")
    if certificate is not None:
        with _naming_options(address, CERTIFICATE_OPTIONS):
            # By itself OpenSSL would ask the terminal for a passphrase.
            context.load_cert_chain(certificate, address.option("keyfile"), password=_refuse_to_ask)
    if not address.verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _trusting(address: Address) -> ssl.SSLContext:
    data = address.option("cadata")
    with _naming_options(address, AUTHORITY_OPTIONS):
        return ssl.create_default_context(
            cafile=address.option("cafile"),
            capath=address.option("capath"),
            cadata=None if data is None else b64decode(data, validate=True),
        )


def _check_there(path: str | None) -> None:
    """OpenSSL does not say which of two files is missing, and takes a missing folder for an empty one."""
    if path is None:
        return
    if Path(path).is_dir():
        next(Path(path).iterdir(), None)
    else:
        Path(path).open("rb").close()


def _refuse_to_ask() -> str:
    raise ValueError("the key is encrypted; write it without a passphrase")


@contextmanager
def _naming_options(address: Address, options: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as exc:
        given = ", ".join(_as_given(name, address) for name in options if address.option(name) is not None)
        raise SettingError(f"url: {given} can't be used: {_said(exc)}") from exc


def _as_given(name: str, address: Address) -> str:
    return name if name == "cadata" else f"{name}={address.option(name)}"


def _said(exc: OSError | ValueError) -> str:
    if isinstance(exc, ssl.SSLError):
        what = (exc.reason or "not in PEM").lower().replace("_", " ")
        return f"{what}; certificates and keys are read in PEM, cadata in DER and base64"
    if isinstance(exc, OSError):
        return f"{exc.strerror}; the worker must be able to read it"
    return str(exc)
