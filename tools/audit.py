"""Whether a locked dependency has a known vulnerability: `make audit`.

    python -m tools.audit PIP_AUDIT LOCK

pip-audit calls a package that it could not look up "skipped" and ends with 0, so that without a way
to a database everything seems well. Here each locked package counts as looked up, or not.

Exit codes: 0 all were looked up and none is known to be vulnerable, 1 some are, 3 some could not be
looked up and nothing is known of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CLEAN, VULNERABLE, NOT_KNOWN = 0, 1, 3


def verdict(report: dict[str, Any] | None, locked: int) -> tuple[int, list[str]]:
    """The exit code, and what to say.

    report  pip-audit's, as JSON; None where it wrote none
    locked  packages in the lock

    >>> verdict({"dependencies": [{"name": "a", "version": "1", "vulns": []}]}, 1)
    (0, ['1 of 1 locked packages looked up: no known vulnerability.'])
    >>> verdict({"dependencies": [{"name": "a", "skip_reason": "not found"}]}, 1)[0]
    3
    """
    entries = report["dependencies"] if report else []
    looked_up = [each for each in entries if "vulns" in each]
    found = [each for each in looked_up if each["vulns"]]
    share = f"{len(looked_up)} of {locked} locked packages looked up"
    lines = [
        f"{each['name']} {each['version']}: {vuln['id']}, fixed in "
        f"{', '.join(vuln.get('fix_versions', [])) or 'no version'}"
        for each in found
        for vuln in each["vulns"]
    ]
    if found:
        return VULNERABLE, [*lines, f"{share}: {len(found)} vulnerable."]
    if len(looked_up) < locked:
        why = next((each["skip_reason"] for each in entries if "skip_reason" in each), "")
        more = f" First reason: {why}." if why else " No database could be reached."
        return NOT_KNOWN, [f"{share}: of the others NOTHING IS KNOWN.{more}"]
    return CLEAN, [f"{share}: no known vulnerability."]


def pinned(lock: str) -> list[str]:
    """The names in a lock.

    >>> pinned("a==1 --hash=x" + chr(10) + "    # via b" + chr(10) + "b-c==2")
    ['a', 'b-c']
    """
    return [line.partition("==")[0] for line in lock.splitlines() if "==" in line.split(" ")[0]]


def main(arguments: Sequence[str]) -> int:
    """Look up what is locked."""
    pip_audit, lock = arguments
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "audit.json"
        done = subprocess.run(
            [
                *(pip_audit, "--requirement", lock, "--require-hashes", "--disable-pip"),
                *("--progress-spinner", "off", "--format", "json", "--output", str(out)),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        report = json.loads(out.read_text()) if out.exists() else None
    code, lines = verdict(report, len(pinned(Path(lock).read_text())))
    if report is None:
        lines += done.stderr.strip().splitlines()[-3:]
    print("\n".join(lines))  # noqa: T201 - a script
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
