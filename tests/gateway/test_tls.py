"""HTTPS: answered with the certificate that is named, and with a renewed one from the next connection on."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
import trio

from rpcb_trio import SettingError
from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio.gateway import GatewayOptions
from tests.amqp.certificates import Certificates
from tests.gateway.fronts import echo, one_by_one
from tests.gateway.listening import listening

ROUTES = {"sound": {"queue": "sound", "form": {"sound": "file"}, "urls": {"sound": "url"}, "base64": False}}


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    made = Certificates(tmp_path)
    made.write_authorities()
    for name in ("one", "other"):
        made.issue(name, "127.0.0.1", user=name)
    made.lock("one")
    return made


def settings_of(certificates: Certificates, certificate: str, key: str) -> GatewaySettings:
    return GatewaySettings(certfile=certificates.path(certificate), keyfile=certificates.path(key))


async def holder(port: int, trusting: ssl.SSLContext) -> str:
    """Whose certificate a connection is shown."""
    stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=trusting)
    try:
        await stream.do_handshake()
        shown = stream.getpeercert()
    finally:
        await trio.aclose_forcefully(stream)
    names = {name: value for part in shown["subject"] for name, value in part}
    return str(names["commonName"])


async def test_over_https_requests_are_answered_and_a_renewed_certificate_is_shown_from_then_on(
    certificates: Certificates,
) -> None:
    settings = settings_of(certificates, "one.pem", "one.key")
    trusting = ssl.create_default_context(cafile=certificates.path("ca.pem"))
    sound = one_by_one(lambda body: {"sound": body["sound"]})
    options = GatewayOptions(rpc=("echo",))
    async with listening(ROUTES, options, tls=settings.tls, echo=echo, sound=sound) as gateway:
        silent, plain = await gateway.stream(), await gateway.stream()  # neither holds others up
        await plain.send_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{gateway.port}", verify=trusting) as http:
            answers = [await http.post("/rpc/echo", content=bytes(size)) for size in (1, 2_000_000)]
            made = await http.post("/sound", files={"sound": b"RIFF"})
            found = await http.get(made.json()["url"])
        assert await holder(gateway.port, trusting) == "one"
        settings_of(certificates, "other.pem", "other.key").renew(gateway.tls)  # type: ignore[arg-type] # it has one
        assert await holder(gateway.port, trusting) == "other"
        with pytest.raises(trio.BrokenResourceError):
            await holder(gateway.port, ssl.create_default_context())
    assert gateway.ended.is_set()  # though a client has said nothing yet
    await trio.aclose_forcefully(silent)
    assert [len(answer.content) for answer in answers] == [1, 2_000_000]
    assert answers[0].extensions["network_stream"].get_extra_info("ssl_object").version() == "TLSv1.3"
    assert (made.json()["url"][:8], found.content) == ("https://", b"RIFF")


@pytest.mark.parametrize(
    ("certificate", "key", "why"),
    [
        ("one.pem", "other.key", "KEY_VALUES_MISMATCH|key values mismatch"),
        ("one.pem", "one-locked.key", "the key has a passphrase; take it away"),
        ("none.pem", "one.key", "No such file or directory"),
        ("one.key", "one.key", "can't be used"),
    ],
)
def test_a_certificate_that_can_t_be_used_is_named(
    certificates: Certificates, certificate: str, key: str, why: str
) -> None:
    with pytest.raises(SettingError, match=rf"^certfile .* with keyfile .* can't be used: .*({why})|{why}"):
        _ = settings_of(certificates, certificate, key).tls


def test_a_certificate_and_its_key_go_together(certificates: Certificates) -> None:
    with pytest.raises(SettingError, match="certfile and keyfile go together; set both or none"):
        _ = GatewaySettings(certfile=certificates.path("one.pem")).tls
