"""Builds a link's TLS context, and explains failed handshakes."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.model import ConfigError, Fault, Link, NoReply

OP_LEGACY_SERVER_CONNECT = 0x4  # OpenSSL's number; the ssl module names it from Python 3.12 on

SET_CA_FILE = "Set ca_file to the authority that signed it"
SET_LEGACY = 'If the server cannot be renewed, set tls = "legacy"'
IF_IT_STAYS = 'If it stays so: an old server needs tls = "legacy", a strict one client_cert'
TODO_BY_VERIFY_CODE = {  # numbers: X509_V_ERR_* of openssl/x509_vfy.h
    9: "Check the clock of this machine",
    10: "Its owner must renew it; check the clock of this machine too",
    18: "Set ca_file to this very certificate, if it is the right one",
    20: SET_CA_FILE + ", or install the system's authorities (package ca-certificates)",
    62: "Check the host in base_url",
    64: "Check the host in base_url",
    66: SET_LEGACY,  # the server's key is too weak
    67: SET_LEGACY,  # the authority's key is too weak
    68: SET_LEGACY,  # the authority's digest is too weak
}
# Parts of OpenSSL's reasons; their prefixes vary with its version.
TOO_OLD = (
    "UNSUPPORTED_PROTOCOL",
    "PROTOCOL_VERSION",
    "NO_PROTOCOLS_AVAILABLE",
    "HANDSHAKE_FAILURE",
    "DH_KEY_TOO_SMALL",
    "LEGACY_RENEGOTIATION",
    "WRONG_SIGNATURE_TYPE",
)
NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH", "HTTP_REQUEST")
OUR_CERTIFICATE = ("ALERT_CERTIFICATE", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA")


def tls_context(link: Link) -> ssl.SSLContext:
    """Return the TLS context of a link; it always checks the peer's certificate.

    raises  ConfigError naming the file that cannot be used
    """
    context = _trusting(link.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    if link.tls == "legacy":
        _allow_old(context)
    if link.client_cert is not None:
        _show(context, link.client_cert, link.client_key)
    elif link.client_key is not None:
        raise ConfigError("client_key is set without client_cert")
    return context


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is None:
        return ssl.create_default_context()
    with _usable("ca_file", ca_file, "certificates as PEM text (-----BEGIN CERTIFICATE-----)"):
        return ssl.create_default_context(cafile=ca_file)


def _allow_old(context: ssl.SSLContext) -> None:
    # The oldest is TLS 1.0: SSL 3 is off by an option of its own. Naming TLSv1 would warn.
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.options |= OP_LEGACY_SERVER_CONNECT
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    # On by default from Python 3.13; certificates of that age rarely pass it.
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    pair = "a certificate and its private key, unencrypted, as PEM text"
    if key is not None:
        with _usable("client_key", key, "a private key, unencrypted, as PEM text"):
            pair = f"a certificate as PEM text that belongs to the key in {key}, unencrypted"
    with _usable("client_cert", certificate, pair):
        context.load_cert_chain(certificate, key, password=_no_password)
    # In TLS 1.3 a server that wants it for some paths only asks once it has read the request.
    context.post_handshake_auth = True


def _no_password() -> str:
    """Fail instead of letting OpenSSL ask for a password at the terminal."""
    raise ssl.SSLError(None, "the private key is encrypted")


@contextmanager
def _usable(name: str, file: Path, expected: str) -> Iterator[None]:
    """Turn every error about the file into a ConfigError."""
    try:
        file.read_bytes()  # OpenSSL's errors do not say which of two files is missing
        yield
    except OSError as error:  # ssl.SSLError is one
        why = error.strerror or "it cannot be read"
        fault = Fault(what=f"{name} cannot be used: {why}", file=str(file), expected=expected)
        raise ConfigError([fault]) from error


def tls_failure(error: OSError, peer: str, *, may_have_arrived: bool = False) -> NoReply:
    """Return a NoReply for a failed handshake with `peer` (host:port) that says what to do.

    >>> tls_failure(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong"), "127.0.0.1:80").detail
    '127.0.0.1:80 does not speak TLS: check scheme and port of base_url'
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        detail, is_permanent = _distrust(error, peer), True
    else:
        detail, is_permanent = _broken_handshake(error, peer)
    return NoReply("tls_failed", detail, may_have_arrived, is_permanent)


def _distrust(error: ssl.SSLCertVerificationError, peer: str) -> str:
    todo = TODO_BY_VERIFY_CODE.get(error.verify_code, SET_CA_FILE)
    return f"the certificate of {peer} is not trusted: {error.verify_message}. {todo}"


def _broken_handshake(error: OSError, peer: str) -> tuple[str, bool]:
    reason = str(error).upper()
    if is_about_our_certificate(error):
        return f"{peer} refused our certificate. Set client_cert and client_key", True
    if any(part in reason for part in TOO_OLD):
        return f"{peer} and we share no version or cipher of TLS. {SET_LEGACY}", True
    if any(part in reason for part in NOT_TLS):
        return f"{peer} does not speak TLS: check scheme and port of base_url", True
    why = getattr(error, "reason", None) or error.strerror or "no reason given"
    return f"{peer} ended the TLS handshake early: {why}. {IF_IT_STAYS}", False


def is_about_our_certificate(error: BaseException | None) -> bool:
    """True if the peer refuses our certificate, or requires one."""
    return isinstance(error, ssl.SSLError) and any(
        part in str(error).upper() for part in OUR_CERTIFICATE
    )
