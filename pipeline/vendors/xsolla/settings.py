"""Settings of an account at Xsolla, and how it signs in."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline.vendors.kit.contract import Basic, Secret, VendorSettings


class XsollaSettings(VendorSettings):
    """Settings of an account at Xsolla.

    Other `projects` need `merchant_id`, because an API key that goes with a project's own number
    opens that project only.
    """

    base_url: str = Field(
        default="https://store.xsolla.com/api",  # SPEC servers
        description="Address of the API.",
    )
    project_id: int = Field(gt=0, description="The project to update; user name of HTTP Basic.")
    projects: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        default=(), description="Others that a column project_id may name; needs merchant_id."
    )
    api_key: Secret = Field(description="The password of HTTP Basic.")
    merchant_id: int | None = Field(default=None, gt=0, description="The user name instead.")

    @model_validator(mode="after")
    def _projects_need_merchant_id(self) -> Self:
        if self.merchant_id is None and set(self.projects) - {self.project_id}:
            raise PydanticCustomError(
                "merchant_id",
                "projects other than project_id need merchant_id: the user name is the project's "
                "own number otherwise, and that opens no other project",
            )
        return self


def authenticate(s: XsollaSettings) -> Basic:
    """SPEC securitySchemes.basicAuth: user `project_id` or `merchant_id`, password the API key."""
    return Basic(str(s.project_id if s.merchant_id is None else s.merchant_id), s.api_key)
