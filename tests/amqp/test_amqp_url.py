"""URLs are checked before anything starts, and their password is never shown."""

from __future__ import annotations

from ssl import CERT_NONE, CERT_REQUIRED
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpcb_trio import SettingError
from rpcb_trio._transports._amqp._tls import tls_context
from rpcb_trio._transports._amqp._url import parse_url
from rpcb_trio.amqp import AmqpTransport


@pytest.mark.parametrize(
    ("url", "host", "port", "user"),
    [
        ("amqp://h", "h", 5672, "guest"),
        ("amqps://h", "h", 5671, "guest"),
        ("amqp://u:p@h:1/v", "h", 1, "u"),
        ("amqps://u:p%40@[::1]:1/%2F?cafile=x", "::1", 1, "u"),
    ],
)
def test_a_url_names_host_port_and_user(url: str, host: str, port: int, user: str) -> None:
    address = parse_url(url, heartbeat=15)
    assert (address.host, address.port, address.user) == (host, port, user)


@pytest.mark.parametrize(("url", "heartbeat"), [("amqp://h", "7"), ("amqp://h?heartbeat=30", "30")])
def test_the_urls_own_heartbeat_wins(url: str, heartbeat: str) -> None:
    assert parse_url(url, heartbeat=7).url.query["heartbeat"] == heartbeat


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "http://h",
        "amqp:",
        "amqp://",
        "amqp:///v",
        "amqp://h:port",
        "amqp://u:p/w@h",
        "amqp://h:70000",
        "amqp://u:/p@h",
        "amqp://u:?p@h",
        "amqp://u:1#p@h",
        "amqp://h/#v",
    ],
)
def test_a_malformed_url_is_a_wrong_setting_that_is_named(url: str) -> None:
    with pytest.raises(SettingError, match=r"^url "):
        AmqpTransport(url)


@pytest.mark.parametrize("heartbeat", ["x", "-1", "1.5", "65535", "²"])
def test_a_heartbeat_that_amqp_lacks_is_a_wrong_setting(heartbeat: str) -> None:
    with pytest.raises(SettingError, match=r"^heartbeat "):
        AmqpTransport(f"amqp://h?heartbeat={heartbeat}")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("amqp://h?heartbaet=5", "url has an unknown option 'heartbaet'; the known ones: auth, heartbeat, "),
        ("amqps://h?timeout=5", "url has an unknown option 'timeout'"),
        ("amqp://h?cafile=ca.pem", "url has cafile, which is for TLS; begin it with amqps://"),
        ("amqp://h?no_verify_ssl=0", "url has no_verify_ssl, which is for TLS"),
        ("amqps://h?no_verify_ssl=false", "url: no_verify_ssl is 0 .* or 1"),
        ("amqps://h?keyfile=k.pem", "url has a keyfile without a certfile"),
        ("amqps://h?auth=kerberos", "url: auth is plain .* or external"),
        ("amqps://h?auth=external", "url: auth=external logs in by a certificate; .* certfile"),
        ("amqp://h?auth=external", "url: auth=external logs in by a certificate; use amqps://"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused_and_the_remedy_named(url: str, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        AmqpTransport(url)


def test_a_brokers_certificate_is_verified_unless_the_url_says_otherwise() -> None:
    assert tls_context(parse_url("amqps://h", heartbeat=15)).check_hostname
    assert tls_context(parse_url("amqps://h?no_verify_ssl=0", heartbeat=15)).verify_mode is CERT_REQUIRED
    assert tls_context(parse_url("amqps://h?no_verify_ssl=1", heartbeat=15)).verify_mode is CERT_NONE


def test_the_numbers_are_checked_too() -> None:
    with pytest.raises(SettingError, match=r"^heartbeat "):
        AmqpTransport("amqp://h", heartbeat=-1)
    with pytest.raises(SettingError, match=r"^connect_timeout "):
        AmqpTransport("amqp://h", connect_timeout=0)


SECRET = "correct horse"  # noqa: S105 - what a test must not find


def how_it_shows(url: str) -> str:
    try:
        return repr(AmqpTransport(url))
    except SettingError as exc:
        return f"{exc!r} {'' if exc.__suppress_context__ else repr(exc.__context__)}"


@given(
    before=st.text(max_size=5), after=st.text(max_size=5), host=st.sampled_from(["h", "", "h:x", "[::1", "é"])
)
@example(before="?\n", after="", host="h")
def test_the_password_is_never_shown_whether_it_is_escaped_or_not(before: str, after: str, host: str) -> None:
    password = f"{before}{SECRET}{after}"
    for written in (password, quote(password, safe="", errors="surrogatepass")):
        shown = how_it_shows(f"amqp://user:{written}@{host}/v?name=n")
        assert SECRET not in shown
        assert quote(SECRET) not in shown


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "x" * 300], ids=["long", "empty", "longer"])
def test_a_host_that_no_name_can_be_is_a_wrong_setting(host: str) -> None:
    with pytest.raises(SettingError, match="no host can be named"):
        parse_url(f"amqp://guest:guest@{host}/", heartbeat=15)


def test_a_virtual_host_that_amqp_can_not_name_is_a_wrong_setting() -> None:
    assert parse_url(f"amqp://h/{'é' * 127}x", heartbeat=15).host == "h"
    with pytest.raises(SettingError, match=r"^url: a virtual host's name has 255 bytes at most$"):
        parse_url(f"amqp://h/{'é' * 128}", heartbeat=15)
