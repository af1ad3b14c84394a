"""Licences of the locked dependencies: `make licences` writes docs/reference/licences.md."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from tools.audit import pinned

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "licences.md"
LOCK = ROOT / "requirements" / "run.txt"

_PREFIX = "License :: OSI Approved :: "
_MAX_CHARS = 60


def licence_of(name: str) -> str:
    """What an installed package says of itself: an SPDX expression, else its classifier.

    Raises PackageNotFoundError where it is not installed.
    """
    about = metadata.distribution(name).metadata.json
    if expression := about.get("license_expression"):
        return str(expression)
    classified = [each for each in about.get("classifier", []) if each.startswith(_PREFIX)]
    if classified:
        return ", ".join(each.removeprefix(_PREFIX) for each in classified)
    text = str(about.get("license") or "not stated").strip().splitlines()[0]
    return text[:_MAX_CHARS]


def page() -> str:
    """The page, from the lock and what is installed."""
    rows = "".join(
        f"| {name} | {metadata.version(name)} | {licence_of(name)} |\n"
        for name in pinned(LOCK.read_text())
    )
    return (
        "# Licences of the dependencies\n\n"
        "<!-- Made by `make licences` from requirements/run.txt. Do not edit. -->\n\n"
        "This page answers: under which licence is each package that a run needs, as the package\n"
        "states it? The project itself: Apache 2.0, see [LICENSE](../../LICENSE).\n\n"
        f"| package | version | licence |\n| --- | --- | --- |\n{rows}"
    )


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"Wrote {PAGE.relative_to(ROOT)}", file=sys.stderr)  # noqa: T201 - a script
