"""What a link may ask for, and what is said where it asks for the impossible."""

from __future__ import annotations

import ssl
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.http_client.tls import tls_context, tls_failure
from pipeline.http_client.transport import Transport
from pipeline.model import ConfigError, Link, Request
from tests.http_client.tls_files import Authority


def a_transport(**link) -> Transport:
    more = {"base_url": "https://api.example", **link}
    return Transport(Link(**more), authorization=None, in_flight=1)


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ({"base_url": "api.example/v2"}, "base_url is not a usable URL; expected https://"),
        ({"base_url": "ftp://api.example"}, "base_url is not a usable URL"),
        ({"base_url": "https://"}, "base_url is not a usable URL"),
        ({"base_url": "https://api.example:port"}, "base_url is not a usable URL"),
        ({"base_url": "https://api.example/?key=hush"}, "base_url is not a usable URL"),
        ({"base_url": "https://api.example/#hush"}, "base_url is not a usable URL"),
        ({"base_url": "https://api.example/a b"}, "base_url is not a usable URL"),
        ({"base_url": "https://api.example/?"}, "base_url is not a usable URL"),  # eats the path
        ({"base_url": "https://äpi.example"}, "base_url is not a usable URL"),
        ({"base_url": "https://eve:hush@api.example"}, "Credentials have keys of their own"),
        ({"proxy": "proxy:3128"}, "proxy is not a usable URL; expected http://host:port"),
        ({"proxy": "socks5://eve:hush@proxy:1"}, "proxy is not a usable URL"),
        ({"proxy": "https://eve:hush@proxy:1"}, "proxy is not a usable URL"),  # TLS within TLS
        ({"proxy": "http://eve%3Ax:hush@proxy:1"}, "a user name with a colon"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_showing_it(link, words):
    with pytest.raises(ConfigError) as refused:
        a_transport(**link)
    assert words in str(refused.value)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "authorization",
        "Content-Type",
        "Content-Length",
        "content-anything",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Upgrade",  # would change the protocol
        "HTTP2-Settings",  # likewise
        "TE",
        "Trailer",
        "Expect",  # would hold the body back
        "Accept-Encoding",  # a packed reply may unpack to any size
        "Proxy-Authorization",
    ],
)
def test_headers_that_frame_the_message_are_not_the_account_s_to_set(name):
    with pytest.raises(ConfigError, match=f"may not set {name}"):
        a_transport(headers={name: "hush"})


def test_every_wrong_header_is_reported_at_once_without_its_value():
    wrong = {
        "Host": "hush",
        "X Y": "hush",
        "": "hush",
        "X-Key": "hush\r\nX-More: hush",
        "X-Odd": "hush-é",  # some servers read Latin-1, some UTF-8
        "X-Ok": "\tfine ~",
    }
    with pytest.raises(ConfigError) as refused:
        a_transport(headers=wrong)
    assert len(refused.value.faults) == 5
    assert "the value of X-Key" in str(refused.value)
    assert "hush" not in str(refused.value)


@given(entity_id=st.text(max_size=40))
def test_an_id_stays_one_segment_of_the_one_host(entity_id):
    path = f"/coupon/{quote(entity_id, safe='')}"
    head = a_transport(base_url="http://api.example")._head(Request("PUT", path))
    assert head.startswith(f"PUT {path} HTTP/1.1\r\nHost: api.example\r\n".encode())
    assert head.count(b"\r\n\r\n") == 1


# Files


@pytest.fixture
def authority(tmp_path):
    return Authority.made_in(tmp_path / "authority")


@pytest.fixture
def files(tmp_path, authority):
    """Names of files, good and bad, as a table wants them."""
    certificate, key = authority.client_files()
    other = Authority.made_in(tmp_path / "other")
    _, other_key = other.client_files()
    made = {"ca": authority.ca_file, "cert": certificate, "key": key, "other_key": other_key}
    contents = {
        "empty": b"",
        "text": b"no certificate\n",
        "der": ssl.PEM_cert_to_DER_cert(authority.ca_file.read_text()),
        "locked_key": LOCKED_KEY,
    }
    for name, content in contents.items():
        made[name] = tmp_path / name
        made[name].write_bytes(content)
    return {**made, "missing": tmp_path / "missing", "folder": tmp_path}


LOCKED_KEY = b"""-----BEGIN RSA PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,0123456789ABCDEF0123456789ABCDEF

MIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu
-----END RSA PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    ("link", "culprit", "words"),
    [
        ({"ca_file": "missing"}, "missing", "ca_file cannot be used: No such file"),
        ({"ca_file": "folder"}, "folder", "ca_file cannot be used: Is a directory"),
        ({"ca_file": "empty"}, "empty", "expected certificates as PEM"),
        ({"ca_file": "text"}, "text", "expected certificates as PEM"),
        ({"ca_file": "der"}, "der", "expected certificates as PEM"),
        ({"ca_file": "key"}, "key", "expected certificates as PEM"),
        ({"client_cert": "missing"}, "missing", "client_cert cannot be used: No such file"),
        ({"client_cert": "cert", "client_key": "missing"}, "missing", "client_key cannot be used"),
        ({"client_cert": "cert"}, "cert", "expected a certificate and its private key"),
        ({"client_cert": "cert", "client_key": "other_key"}, "cert", "belongs to the key in"),
        ({"client_cert": "cert", "client_key": "text"}, "cert", "belongs to the key in"),
        ({"client_cert": "cert", "client_key": "locked_key"}, "cert", "key is encrypted"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_expected(files, link, culprit, words):
    paths = {key: files[name] for key, name in link.items()}
    with pytest.raises(ConfigError) as refused:
        tls_context(Link(base_url="https://api.example", **paths))
    assert words in str(refused.value)
    assert str(refused.value).startswith(f"{files[culprit]}: ")


def test_a_key_without_a_certificate_is_refused(files):
    with pytest.raises(ConfigError, match="client_key is set without client_cert"):
        tls_context(Link(base_url="https://api.example", client_key=files["key"]))


# Contexts


@pytest.mark.parametrize("tls", ["1.2", "legacy"])
def test_certificates_are_checked_whatever_is_configured(tls, authority):
    for ca_file in (None, authority.ca_file):
        context = tls_context(Link(base_url="https://api.example", tls=tls, ca_file=ca_file))
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname


def test_old_versions_are_off_unless_asked_for():
    new = tls_context(Link(base_url="https://api.example"))
    old = tls_context(Link(base_url="https://api.example", tls="legacy"))
    assert new.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert not new.options & 0x4
    assert old.minimum_version == ssl.TLSVersion.MINIMUM_SUPPORTED
    assert old.options & ssl.OP_NO_SSLv3
    assert old.options & 0x4


def test_a_named_authority_replaces_the_system_s(authority):
    context = tls_context(Link(base_url="https://api.example", ca_file=authority.ca_file))
    assert len(context.get_ca_certs()) == 1


# Words


def _error(reason: str) -> ssl.SSLError:
    return ssl.SSLError(1, f"[SSL: {reason}] words (_ssl.c:1006)")


@pytest.mark.parametrize(
    ("error", "is_permanent", "words"),
    [
        (_error("UNSUPPORTED_PROTOCOL"), True, 'tls = "legacy"'),
        (_error("TLSV1_ALERT_PROTOCOL_VERSION"), True, 'tls = "legacy"'),
        (_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), True, 'tls = "legacy"'),
        (_error("DH_KEY_TOO_SMALL"), True, 'tls = "legacy"'),
        (_error("UNSAFE_LEGACY_RENEGOTIATION_DISABLED"), True, 'tls = "legacy"'),
        (_error("WRONG_VERSION_NUMBER"), True, "does not speak TLS"),
        (_error("RECORD_LAYER_FAILURE"), True, "does not speak TLS"),  # OpenSSL 3.2 and newer
        (_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), True, "Set client_cert"),
        (_error("TLSV1_ALERT_UNKNOWN_CA"), True, "Set client_cert"),
        (
            _error("UNEXPECTED_EOF_WHILE_READING"),
            False,
            "ended the TLS handshake early",
        ),  # it may be restarting
        (ConnectionResetError(104, "Connection reset by peer"), False, "Connection reset by peer"),
        (ConnectionResetError(), False, "no reason given"),
    ],
)
def test_a_failed_handshake_says_what_to_do(error, is_permanent, words):
    lost = tls_failure(error, "api.example:443")
    assert (lost.reason, lost.may_have_arrived, lost.is_permanent) == (
        "tls_failed",
        False,
        is_permanent,
    )
    assert words in lost.detail
    assert "api.example:443" in lost.detail


@pytest.mark.parametrize(
    ("code", "todo"),
    [
        (9, "clock"),  # not valid yet
        (10, "renew"),  # expired
        (18, "ca_file"),  # signed by itself
        (19, "ca_file"),  # an authority that nobody knows
        (20, "ca-certificates"),  # a container without authorities
        (62, "base_url"),  # another host's
        (66, "legacy"),  # too short a key
        (999, "ca_file"),
    ],
)
def test_a_certificate_that_is_not_trusted_says_what_to_do(code, todo):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "the reason"
    lost = tls_failure(error, "api.example:443")
    assert lost.is_permanent
    assert "the reason" in lost.detail
    assert todo in lost.detail
