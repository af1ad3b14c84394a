"""Settings of an account at Adobe, and how it signs in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlencode, urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from pipeline.model import Request
from pipeline.model.validation import value_error
from pipeline.vendors.kit.contract import Bearer, Doubt, Secret, TokenCall, VendorSettings
from pipeline.vendors.kit.tokens import bearer_token

# Characters of headers and entity keys: visible, without the `|` that separates parts of a key.
_WORD = re.compile(r"(?!\.\.?\Z)[!-{}~]+")
_SCOPE = re.compile(r"[!-+\--~]+")  # OAUTH: commas part them


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise value_error("expected visible ASCII characters, without blanks and without |")
    return text


def _scope_name(text: str) -> str:
    if not _SCOPE.fullmatch(text):
        raise value_error("expected one scope each, without blanks and commas")
    return text


Word = Annotated[str, AfterValidator(_word)]


class AdobeSettings(VendorSettings):
    """Settings of an account at Adobe.

    `api` has no default: it is chosen.
    """

    base_url: str = Field(
        default="https://platform.adobe.io/data/core",  # UPDATE, DPS
        description="Address of the API.",
    )
    api: Literal["xcore", "dps"] = Field(
        description="The generation of the API; Adobe supported xcore until 2024-03-27."
    )
    container_id: Word | None = Field(default=None, description="xcore: where the offers are.")
    containers: tuple[Word, ...] = Field(
        default=(), description="xcore: others that a column container_id may name."
    )
    ims_org: Word = Field(description="The organisation, sent as x-gw-ims-org-id.")
    sandbox_name: Word = Field(description="The sandbox, sent as x-sandbox-name.")
    client_id: Secret = Field(
        description="Of the project in the Developer Console; also the x-api-key of every request."
    )
    client_secret: Secret | None = Field(default=None, description="To get tokens; needs scopes.")
    scopes: tuple[Annotated[str, AfterValidator(_scope_name)], ...] = Field(
        default=(), description="Those that the Developer Console lists; needs client_secret."
    )
    access_token: Secret | None = Field(
        default=None, description="A ready token, instead of client_secret and scopes."
    )
    token_url: str = Field(
        default="https://ims-na1.adobelogin.com/ims/token/v3",  # OAUTH
        description="Where tokens come from: https://, or http:// to this machine.",
    )
    preconditions: bool = Field(
        default=True,
        description=(
            "false adds no precondition to updates that are harmful when repeated, and does not "
            "repeat them once in doubt."
        ),
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if faults := [*_sign_in_faults(self), *_container_faults(self)]:
            raise PydanticCustomError("settings", "; ".join(faults))
        return self


def _sign_in_faults(s: AdobeSettings) -> Iterator[str]:
    # presence only: while rows are bound, secrets hold a placeholder
    if s.client_secret is None and s.access_token is None:
        yield "client_secret with scopes, or access_token, is missing: nothing says how to sign in"
    elif s.client_secret is not None and s.access_token is not None:
        yield "client_secret and access_token are two ways to sign in: leave one of them out"
    elif s.client_secret is not None and not s.scopes:
        yield "scopes is missing: client_secret needs those that the Developer Console lists"
    elif s.access_token is not None and s.scopes:
        yield "scopes belongs to client_secret: leave it out with access_token"
    if not _may_hold_credentials(s.token_url):
        yield "token_url should be https:// with host and path, without user, query and fragment"


def _container_faults(s: AdobeSettings) -> Iterator[str]:
    if s.api == "xcore" and s.container_id is None:
        yield "container_id is missing: xcore finds an offer in its container"
    if s.api == "dps" and (s.container_id is not None or s.containers):
        # it would have no effect, which a reader of the configuration would not expect
        yield "container_id and containers belong to xcore: dps knows an offer by its id alone"


def _may_hold_credentials(url: str) -> bool:
    """True if credentials may be sent to this address.

    >>> _may_hold_credentials("http://127.0.0.1:8080/token"), _may_hold_credentials("http://a/b")
    (True, False)
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return False
    is_loopback = host in {"localhost", "::1"} or re.fullmatch(r"127(\.[0-9]{1,3}){3}", host)
    is_plain = re.fullmatch(r"[!-~]+", url) and not re.search(r"[?#\\@]", url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback)
    return bool(host and parts.path.startswith("/") and is_plain and is_safe)


def authenticate(s: AdobeSettings) -> Bearer | TokenCall:
    """OAUTH: client credentials in a form. The reply has a token for 24 hours, which is renewed."""
    if s.access_token is not None:
        return Bearer(s.access_token)
    secret = s.client_secret or SecretStr("")  # never empty: `_sign_in_faults`
    form = {
        "grant_type": "client_credentials",
        "client_id": s.client_id.get_secret_value(),
        "client_secret": secret.get_secret_value(),
        "scope": ",".join(s.scopes),
    }
    url = urlsplit(s.token_url)
    return TokenCall(
        base_url=f"{url.scheme}://{url.netloc}",
        request=Request("POST", url.path, urlencode(form).encode(), _FORM),
        read=bearer_token,
        secrets=(s.client_id, secret),
    )


_FORM: Final = MappingProxyType(
    {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
)


def scope(s: AdobeSettings) -> str:
    """The sandbox and container of an account, for people."""
    where = f", container {s.container_id}" if s.api == "xcore" else ""
    return f"sandbox {s.sandbox_name}{where}"


def account_doubts(s: AdobeSettings) -> tuple[Doubt, ...]:
    """Doubts about an account: its API has ended."""
    if s.api == "dps":
        return ()
    return (
        Doubt(
            "xcore has ended: Adobe supported it until 2024-03-27",  # LEGACY
            'Move to api = "dps": its columns and pointers have other names',
        ),
    )
