"""Checks the URLs of a link before its first request."""

from __future__ import annotations

from yarl import URL

from pipeline.model import ConfigError, Fault


def checked_base_url(text: str) -> URL:
    """The parsed `base_url`. Raises ConfigError if it cannot be used, or holds a credential."""
    url = _checked_url("base_url", text, ("https", "http"))
    if url.user is not None or url.password is not None:
        raise ConfigError(
            [
                Fault(
                    what="base_url holds a user name or password",
                    expected="scheme, host, port and path only",
                    todo="Credentials have keys of their own",
                )
            ]
        )
    return url


def checked_proxy(text: str) -> URL:
    """The parsed `proxy`. Raises ConfigError if it cannot be used."""
    url = _checked_url("proxy", text, ("http",))
    if ":" in (url.user or ""):  # RFC 7617, section 2: nobody could tell where the name ends
        raise ConfigError("proxy holds a user name with a colon")
    return url


def _checked_url(name: str, text: str, schemes: tuple[str, ...]) -> URL:
    # The value is never shown: it may hold a password.
    expected = " or ".join(f"{scheme}://host:port" for scheme in schemes)
    try:
        url = URL(text, encoded=True)
        is_right = url.scheme in schemes and bool(url.host)
    except ValueError:
        is_right = False
    if not is_right or any(char in "?#" or not "!" <= char <= "~" for char in text):
        raise ConfigError([Fault(what=f"{name} is not a usable URL", expected=expected)])
    return url


def host_port(url: URL | str | None) -> str:
    """Return a peer's host:port for messages; empty for None.

    >>> host_port("https://api.example/v2")
    'api.example:443'
    """
    if url is None:
        return ""
    parts = URL(url)
    return f"{parts.raw_host}:{parts.port}"
