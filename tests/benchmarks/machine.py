"""The facts of a machine that a figure depends on."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("aiohttp", "anyio", "httptools", "polars", "pydantic")


def facts() -> dict[str, Any]:
    """Processor, memory, system, versions, and how busy it is with other things."""
    cpuinfo = _text("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    memory = re.search(r"MemTotal:\s*(\d+)", _text("/proc/meminfo"))
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory[1]) / 1e6) if memory else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "libraries": {name: version(name) for name in LIBRARIES},
        "load_at_start": os.getloadavg()[0],
    }


def _text(path: str) -> str:
    file = Path(path)
    return file.read_text() if file.exists() else ""
