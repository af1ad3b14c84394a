"""Starts a command and tells what its process cost; imports next to nothing itself.

A process inherits the peak memory of the one that started it, so this one is small.

    python -S launch.py OUTPUT COMMAND ...

Prints one line of JSON: wall_s, cpu_s and peak_mb of the command with its children, and code.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Run the command; its output goes to the file OUTPUT."""
    output = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    began = time.perf_counter()
    child = os.fork()
    if not child:
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell
    _, status, usage = os.wait4(child, 0)
    cost = {
        "wall_s": time.perf_counter() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "code": os.waitstatus_to_exitcode(status),
    }
    print(json.dumps(cost))


if __name__ == "__main__":
    main()
