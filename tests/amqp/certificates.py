"""Certificates of an authority of the tests' own, and a broker's TLS listeners that use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

from tests.rabbitmq import Node, free_ports

EXPIRED = datetime.now(UTC) - timedelta(days=1)

LISTEN = """
Start = fun(Port, Server, Required) ->
    Options = [{{cacertfile, "{folder}/ca.pem"}}, {{certfile, "{folder}/" ++ Server ++ ".pem"}},
               {{keyfile, "{folder}/" ++ Server ++ ".key"}},
               {{verify, verify_peer}}, {{fail_if_no_peer_cert, Required}}],
    rabbit_networking:start_ssl_listener({{"127.0.0.1", Port}}, Options, 1)
end,
{more},
[{listeners}].
"""


@dataclass(frozen=True)
class Certificates:
    """PEM files, written into a folder: `ca`, `other-ca`, and `NAME.pem` with `NAME.key` of each holder."""

    folder: Path
    ca: trustme.CA = field(default_factory=lambda: trustme.CA(key_type=trustme.KeyType.ECDSA))

    def write_authorities(self) -> None:
        """`ca.pem`, which issued all the rest, and `other-ca.pem`, which issued nothing."""
        self.ca.cert_pem.write_to_path(self.path("ca.pem"))
        trustme.CA(key_type=trustme.KeyType.ECDSA).cert_pem.write_to_path(self.path("other-ca.pem"))

    def issue(self, name: str, *hosts: str, user: str | None = None, until: datetime | None = None) -> None:
        """A certificate for hosts, or of a user for EXTERNAL."""
        issued = self.ca.issue_cert(*hosts, common_name=user, not_after=until, key_type=trustme.KeyType.ECDSA)
        issued.cert_chain_pems[0].write_to_path(self.path(f"{name}.pem"))
        issued.private_key_pem.write_to_path(self.path(f"{name}.key"))

    def lock(self, name: str) -> None:
        """`NAME-locked.key`: the same key behind a passphrase."""
        key = serialization.load_pem_private_key(Path(self.path(f"{name}.key")).read_bytes(), None)
        locked = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
        Path(self.path(f"{name}-locked.key")).write_bytes(locked)

    def path(self, name: str) -> str:
        """Where a file is."""
        return str(self.folder / name)


@dataclass(frozen=True)
class TlsPorts:
    """The broker's TLS listeners, on 127.0.0.1 (localhost)."""

    certificates: Certificates
    usual: int
    """A client's certificate is welcome, not required."""
    strict: int
    """It is required."""
    expired: int
    """The broker's own certificate has expired."""


async def listen_with_tls(node: Node, folder: Path, more: str) -> TlsPorts:
    """Have a running node listen on TLS too, until its next restart, and run `more` Erlang there."""
    certificates = Certificates(folder)
    certificates.write_authorities()
    certificates.issue("server", "localhost")
    certificates.issue("expired", "localhost", until=EXPIRED)
    while True:
        ports = TlsPorts(certificates, *free_ports(3))
        listeners = (
            f'Start({ports.usual}, "server", false), Start({ports.strict}, "server", true), '
            f'Start({ports.expired}, "expired", false)'
        )
        done = await node.rabbitmqctl("eval", LISTEN.format(folder=folder, listeners=listeners, more=more))
        if "eaddrinuse" not in done:  # somebody may have been quicker
            assert done.strip() == "[ok,ok,ok]", done
            return ports
