"""Settings of an account at Billing Care, and how it signs in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from pipeline.model import Request
from pipeline.vendors.kit.contract import (
    Authentication,
    Basic,
    Bearer,
    Secret,
    TokenCall,
    VendorSettings,
)
from pipeline.vendors.kit.tokens import bearer_token
from pipeline.vendors.oracle.values import validation_error

_CREDENTIALS: Final[Mapping[str, tuple[str, ...]]] = {
    "bearer": ("client_id", "client_secret", "access_token"),
    "basic": ("user", "password"),
    "none": (),
}


class OracleSettings(VendorSettings):
    """Settings of an account at Billing Care.

    base_url       INDEX shows the path with and without its prefix, so it is written out
    auth           "bearer": client_id and client_secret get a token (TOKEN), or access_token is
                   one; "basic": user and password, at sites that have it (inferred); "none": test
                   systems may accept calls without (AUTH)
    status_as      "text" sends "2", "number" 2. The sample of OFFERS has the text, its schema says
                   int32; no source says if both are accepted
    max_batch      most rows per request. A refused batch is sent again in parts, and no source says
                   how many rows are too many: 1 is safe
    """

    base_url: str = Field(
        description="Address of your site, up to the version of the API.",
        examples=["https://billing.example.com:7002/bcws/webresources/v1.0"],
    )
    auth: Literal["bearer", "basic", "none"] = Field(
        default="bearer",
        description=(
            "How to sign in; none is for test systems. Credentials of another way are an error."
        ),
    )
    client_id: Secret | None = Field(
        default=None,
        description="bearer: to get tokens from base_url + /authentication/queryAccessToken.",
    )
    client_secret: Secret | None = Field(default=None, description="bearer: its secret.")
    access_token: Secret | None = Field(
        default=None, description="bearer: a ready token, instead of the two."
    )
    user: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="basic, at sites that have it (inferred)."
    )
    password: Secret | None = Field(default=None, description="basic.")
    status_as: Literal["text", "number"] = Field(
        default="text",
        description=(
            'text sends "2", as the vendor\'s sample does; number sends 2, as its schema says.'
        ),
    )
    max_batch: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="Rows per request."
    )

    @model_validator(mode="after")
    def _signs_in_one_way(self) -> Self:
        names = (name for names in _CREDENTIALS.values() for name in names)
        given = {name for name in names if getattr(self, name) is not None}
        if found := dict(_sign_in_faults(self.auth, given)):
            raise validation_error("Settings", found)
        return self


def _sign_in_faults(auth: str, given: AbstractSet[str]) -> Iterator[tuple[str, str]]:
    """Yield settings that are missing or have no effect, each with the fault.

    >>> dict(_sign_in_faults("basic", {"user"}))
    {'password': 'is missing: auth = "basic" needs user and password'}
    """
    for other, names in _CREDENTIALS.items():
        for name in names if other != auth else ():
            if name in given:
                yield name, f'belongs to auth = "{other}", and this account has auth = "{auth}"'
    if auth == "basic":
        for name in sorted({"user", "password"} - given):
            yield name, 'is missing: auth = "basic" needs user and password'
    if auth == "bearer" and "access_token" not in given:
        for name in sorted({"client_id", "client_secret"} - given):
            yield (
                name,
                ('is missing: auth = "bearer" needs client_id and client_secret, or access_token'),
            )
    if auth == "bearer" and "access_token" in given and {"client_id", "client_secret"} & given:
        yield (
            "access_token",
            "conflicts with client_id and client_secret, which get a token: give one or the other",
        )


def authenticate(s: OracleSettings) -> Authentication:
    """How an account signs in: the settings hold the credentials of one way only."""
    if s.access_token is not None:
        return Bearer(s.access_token)
    if s.user is not None and s.password is not None:
        return Basic(s.user, s.password)
    if s.client_id is None or s.client_secret is None:
        return None
    return TokenCall(
        base_url=s.base_url.rstrip("/"),
        request=Request(
            "GET", "/authentication/queryAccessToken", headers={"Accept": "application/json"}
        ),
        basic=Basic(s.client_id.get_secret_value(), s.client_secret),
        read=bearer_token,
        secrets=(s.client_id, s.client_secret),
    )
