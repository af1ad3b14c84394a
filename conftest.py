"""Which modules have examples."""

from collections.abc import Generator
from pathlib import Path

import pytest

EXAMPLE = b">>> "


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, list, list]:
    """A module is asked for its examples only if it has one: to look through all takes a second."""
    found = yield
    if file_path.suffix != ".py" or EXAMPLE in file_path.read_bytes():
        return found
    return [each for each in found if isinstance(each, pytest.Module)]
