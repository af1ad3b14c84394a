"""What every test may rely on."""

import os

import pytest
from hypothesis import settings

# a busy machine is no failure; nothing is kept between runs
settings.register_profile("quiet", deadline=None, database=None)
settings.load_profile("quiet")


@pytest.fixture(autouse=True)
def _no_configuration_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.upper().startswith("PIPELINE_")]:
        monkeypatch.delenv(variable)
