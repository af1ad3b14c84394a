"""The house: who may import whom, what is pure, how long a piece may be, what says what it is.

Imports point down only. `make check` runs this file.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "pipeline"

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 600
MIN_WORDS = 4  # of a folder's first line

# A folder, or a file beside the folders: which folders, or files, of ours it may use, then which
# outside libraries. A folder may always use itself.
MAY_USE: dict[str, set[str]] = {
    "model": {"pydantic", "pydantic_core"},
    "vendors": {
        *("model", "pydantic", "pydantic_core", "typing_extensions"),
        "jsonpointer",
    },
    "jobs": {
        *("model", "vendors", "polars"),
        *("store.parquet", "store.checksums"),
    },
    "loader": {
        *("model", "vendors", "jobs"),
        *("store.parquet", "store.checksums", "store.frame_values", "store.thrift"),
        *("polars", "pydantic", "pydantic_core"),
    },
    "http_client": {"model", "aiohttp", "anyio", "httptools", "multidict", "yarl"},
    "pacing": {"model", "vendors", "store", "http_client.wire", "aiolimiter", "anyio"},
    "sign_in": {"model", "vendors", "pacing", "http_client", "anyio", "pydantic", "yarl"},
    "exchanges": {
        *("model", "vendors", "sign_in.auth", "http_client.masking", "multidict", "pydantic"),
    },
    "workers": {
        *("model", "pacing", "vendors", "sign_in.auth", "exchanges"),
        *(
            "http_client.wire",
            "http_client.link_urls",
            "http_client.patient_loop",
            "http_client.held_replies",
            "http_client.reply_certainty",
        ),
        "anyio",
    },
    "store": {"model", "pydantic_core", "polars", "psycopg"},
    "object_storage": {"model", "obstore"},
    "reporter": {
        *("model", "store.files", "store.parquet", "store.frame_values"),
        "store.result_lines",
        *("polars", "pydantic"),
    },
    "ui": {
        *("model", "reporter", "store.files", "store.parquet", "polars", "pydantic", "rich"),
        *("jinja2", "markupsafe"),  # the pages
    },
    "config": {"model", "vendors", "store", "http_client.tls", "pydantic"},
    "runs": {"model", "vendors", "store", "loader", "config", "pydantic"},
    "run": {
        *(
            "model",
            "vendors",
            "store",
            "jobs",
            "loader",
            "pacing",
            "workers",
            "sign_in",
            "http_client.wire",
            "http_client.patient_loop",
            "runs",
            "reporter",
            "ui",
        ),
        *("config", "object_storage", "anyio", "pydantic", "ray"),
    },
    "plan": {
        *("model", "vendors", "jobs", "loader", "pacing", "workers", "config", "runs", "run"),
        *("store", "sign_in.auth", "http_client.wire", "anyio"),
    },
    "notify": {"model", "reporter", "ui", "config", "aiohttp", "prometheus_client"},
    "watch": {
        *("model", "store", "object_storage", "reporter", "config", "runs", "run"),
        "anyio",
    },
    "doctor": {
        *("model", "vendors", "pacing", "sign_in", "http_client", "store", "config", "runs", "run"),
        *("object_storage", "anyio"),
    },
    "cli": {
        *("model", "vendors", "jobs", "loader", "pacing", "exchanges", "reporter", "ui", "config"),
        *(
            "simulator",
            "object_storage",
            "runs",
            "run",
            "plan",
            "watch",
            "doctor",
            "notify",
            "anyio",
            "click",
            "pydantic",
            "rich",
        ),
    },
    "airflow": {"airflow"},
    "simulator": {"aiohttp", "multidict", "yarl", "jsonpatch", "jsonpointer"},
    "__init__": {"model", "config", "reporter", "run", "runs"},
    "__main__": {"cli"},
}

# What the pure floors may use of the standard library: no clock, chance, process, network or disk.
VALUES = {
    *("__future__", "abc", "collections", "collections.abc", "dataclasses", "enum", "functools"),
    *("itertools", "json", "math", "operator", "re", "string", "types", "typing"),
}
PURE: dict[str, set[str]] = {
    "model": VALUES | {"pathlib"},  # paths as values
    "vendors": VALUES
    | {"base64", "copy", "datetime", "decimal", "email.utils", "http", "urllib.parse"},
}
DECISIONS = {
    f"{folder}/{name}"
    for folder, names in {
        "airflow": "command",
        "doctor": "judge",
        "exchanges": "text",
        "http_client": "backoff decompress http1 masking reply_certainty",
        "jobs": "shares",
        "loader": (
            "cells columns csv_header csv_quotes dates fields file_kind header job_template "
            "make_job opaque_cells origin_columns parquet_footer parquet_types route rows "
            "selection strict_json suggestions unknown_columns"
        ),
        "notify": "formatting",
        "object_storage": "failures",
        "pacing": (
            "circuit_breaker concurrency departures limit_headers limiter_settings margin pause "
            "quota_parts rate strays suspicion throttle unrecorded windows"
        ),
        "plan": "plan_summary rows",
        "reporter": "aggregate columns reconcile stored_results summarise tally",
        "run": (
            "anomaly canary_rows estimate refusal share_progress share_rules share_stops "
            "stale_row_rules"
        ),
        "runs": "stop_if",
        "sign_in": "auth renewal",
        "simulator": "content fault_replies headers quota tokens",
        "store": "thrift",
        "store/on_files": "boot_clock",
        "ui/html": "advice sample_exchanges scale timeline",
        "ui/terminal": "pace",
        "watch": "expected_files marks names settling",
        "workers": (
            "answers backlog batches bisection claim_ahead "
            "fail_fast entity_queue own_answers patience precheck probes refusals "
            "row stop_reason traffic"
        ),
    }.items()
    for name in names.split()
}
"""Files without effects beside files with effects; their docstrings say "Pure"."""
DECIDES_WITH = VALUES | {
    *("array", "base64", "binascii", "bisect", "contextlib", "copy", "datetime", "decimal"),
    *("difflib", "email.utils", "fnmatch", "hashlib", "heapq", "html", "http", "pathlib"),
    *("shlex", "struct", "zlib"),
}
ACTS = {"aiohttp", "aiolimiter", "anyio"}  # libraries with effects: no pure file imports them
FINDS_VENDORS = {"importlib", "pkgutil"}  # the folder is the registry

# Calls that reach a clock or the disk through a type which is fine as a value.
IMPURE_CALLS = re.compile(
    r"(open|print|input|exec|eval|now|utcnow|today|read_(text|bytes)|write_(text|bytes)|exists"
    r"|is_(file|dir)|stat|mkdir|unlink|touch|rename|iterdir|r?glob|resolve|absolute|cwd|home"
    r"|expanduser|urlopen)"
)


# What keeps things, for a while or for good: only the store may use it, and these few files.
KEEPERS = {"sqlite3", "fcntl", "psycopg", "pipeline.store.on_files", "pipeline.store.postgres"}
KEEP_THEMSELVES = {
    "watch/folders.py": ({"fcntl"}, "a lease of the kernel on a dropped file"),
    "simulator/state.py": ({"sqlite3"}, "it imports nothing of ours"),
    "config/ledger.py": ({"pipeline.store.postgres"}, "knows an address from a path"),
    "doctor/database.py": ({"pipeline.store.postgres"}, "judges the server itself"),
}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _docstring(path: Path) -> str:
    return ast.get_docstring(_tree(path)) or ""


def _unit(path: Path, root: Path) -> str:
    return path.relative_to(root).parts[0].removesuffix(".py")


def _module(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.Module, path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module imported, relative or not, wherever it stands."""
    package = _module(path, root).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:  # from pipeline import model: the name is a module
                full = f"{base}.{alias.name}"
                yield node.lineno, full if base == root.name or _is_module(full, root) else base
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
            named = node.args[0] if node.args else None
            if isinstance(named, ast.Constant) and isinstance(named.value, str):
                yield node.lineno, named.value


def _is_module(name: str, root: Path) -> bool:
    path = root.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _may_import(name: str, path: Path, root: Path) -> bool:
    room = _unit(path, root)
    top, _, below = name.partition(".")
    if top == root.name:
        first, _, rest = below.partition(".")
        is_one_vendor = first == "vendors" and bool(rest) and rest.split(".")[0] != "kit"
        return first == room or (_is_allowed(below, MAY_USE[room]) and not is_one_vendor)
    if not _is_pure(path, root):
        return top in MAY_USE[room] or top in sys.stdlib_module_names
    finds = FINDS_VENDORS if path == root / "vendors" / "__init__.py" else set()
    return top in MAY_USE[room] - ACTS or name in PURE.get(room, DECIDES_WITH) | finds


def _is_pure(path: Path, root: Path) -> bool:
    name = path.relative_to(root).with_suffix("").as_posix()
    return _unit(path, root) in PURE or name in DECISIONS


def _is_allowed(name: str, may: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in may)


def import_faults(path: Path, root: Path = ROOT) -> list[str]:
    """What a file imports against the table."""
    return [
        f"{path.relative_to(root)}:{line} may not import {name}"
        for line, name in dict.fromkeys(_imports(_tree(path), path, root))
        if not _may_import(name, path, root)
    ]


def keeper_faults(path: Path, root: Path = ROOT) -> list[str]:
    """Where something is kept without the store, or in a store of one kind."""
    name = path.relative_to(root).as_posix()
    mine, _reason = KEEP_THEMSELVES.get(name, (set(), ""))
    return [
        f"{name}:{line} may not use {keeper}: see pipeline/store/seam.py"
        for line, module in _imports(_tree(path), path, root)
        for keeper in KEEPERS - mine
        if _unit(path, root) != "store" and f"{module}.".startswith(f"{keeper}.")
    ]


def purity_faults(path: Path, root: Path = ROOT) -> list[str]:
    """Where a file of a pure floor waits, asks a clock or touches the disk."""
    if not _is_pure(path, root):
        return []
    faults = []
    for node in ast.walk(_tree(path)):
        where = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            faults.append(f"{where} is async")
        elif isinstance(node, ast.Call) and _is_impure(node):
            faults.append(f"{where} calls {_called(node)}()")
        elif isinstance(node, ast.Global):
            faults.append(f"{where} has a global with state")
    return faults


def _is_impure(call: ast.Call) -> bool:
    is_of_a_column = isinstance(call.func, ast.Attribute) and call.func.attr == "eval"  # polars
    return IMPURE_CALLS.fullmatch(_called(call)) is not None and not is_of_a_column


def reply_faults(path: Path, root: Path = ROOT) -> list[str]:
    """Where the workers, or what stands on it, takes a reply's words past what hides secrets."""
    if path.relative_to(root).as_posix() == "workers/answers.py" or _is_pure(path, root):
        return []
    return [
        f"{path.relative_to(root)}:{node.lineno} understands a reply: see workers/answers.py"
        for node in ast.walk(_tree(path))
        if (isinstance(node, ast.Name) and node.id == "classify")
        or (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("operation.decode"))
    ]


def size_faults(path: Path, root: Path = ROOT) -> list[str]:
    """Functions and files that are too long to be one thing."""
    text = path.read_text()
    lines = text.count("\n")
    faults = []
    if lines > MAX_FILE_LINES:
        faults.append(f"{path.relative_to(root)} has {lines} lines")
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                where = f"{path.relative_to(root)}:{node.lineno}"
                faults.append(f"{where} {node.name} has {length} lines")
    return faults


def docstring_faults(path: Path, root: Path = ROOT) -> list[str]:
    """The module, public classes, functions and methods that do not say what they are."""
    tree = _tree(path)
    return [
        f"{path.relative_to(root)}:{getattr(node, 'lineno', 1)} {name} has no docstring"
        for name, node in _public(tree, path.name)
        if not ast.get_docstring(node)
    ]


Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _public(node: Documented, name: str) -> Iterator[tuple[str, Documented]]:
    yield name, node
    for below in node.body if isinstance(node, ast.Module | ast.ClassDef) else ():
        if isinstance(below, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            marks = {
                getattr(mark, "attr", getattr(mark, "id", "")) for mark in below.decorator_list
            }
            if not below.name.startswith("_") and not marks & {"overload", "override", "setter"}:
                yield from _public(below, below.name)


def export_faults(path: Path, root: Path = ROOT) -> list[str]:
    """Where `__all__` is not exactly what the module makes public.

    That is what it defines; in an `__init__` also what it takes from its own folder and does
    not use itself.
    """
    tree = _tree(path)
    listed = _listed(tree)
    if listed is None:
        return []
    folder = _module(path, root) if path.name == "__init__.py" else None
    defined, taken = set(_defined(tree)), set(_taken(tree, folder)) if folder else set()
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    public = {name for name in defined | (taken - used) if not name.startswith("_")}
    faults = [
        *(f"{name} is listed but not there" for name in listed - defined - taken),
        *(f"{name} is public but not listed" for name in public - listed),
    ]
    return [f"{path.relative_to(root)} __all__: {fault}" for fault in sorted(faults)]


def _listed(tree: ast.Module) -> set[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return {str(name) for name in ast.literal_eval(node.value)}
    return None


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (each.id for each in node.targets if isinstance(each, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def _taken(tree: ast.Module, folder: str) -> Iterator[str]:
    lazy = [node for node in tree.body if isinstance(node, ast.If)]  # if TYPE_CHECKING
    for node in (*tree.body, *(each for part in lazy for each in part.body)):
        if isinstance(node, ast.ImportFrom):
            is_below = node.level or (node.module or "").startswith(f"{folder}.")
            yield from (alias.asname or alias.name for alias in node.names if is_below)


CHECKS = (
    *(import_faults, keeper_faults, purity_faults, reply_faults, size_faults),
    *(docstring_faults, export_faults),
)
FILES = sorted(ROOT.rglob("*.py"))
FOLDERS = [path for path in FILES if path.name == "__init__.py"]


# The house as it stands


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_the_rules_of_the_house(path: Path) -> None:
    assert [fault for check in CHECKS for fault in check(path)] == []


def test_every_room_stands_in_the_table() -> None:
    assert {_unit(path, ROOT) for path in FILES} <= MAY_USE.keys()


def test_files_that_say_pure_are_those_that_are_checked() -> None:
    says = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for path in FILES
        if _unit(path, ROOT) not in PURE and re.search(r"\bPure\b", _docstring(path))
    }
    assert says == DECISIONS


def test_the_map_of_folders_names_each_of_them() -> None:
    listed = re.findall(r"^    (\w+)  +\S", _docstring(ROOT / "__init__.py"), re.MULTILINE)
    assert sorted(listed) == sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


@pytest.mark.parametrize("path", FOLDERS, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_a_folder_says_what_belongs_there_and_what_does_not(path: Path) -> None:
    first, _, others = _docstring(path).partition("\n")
    assert len(first.split()) >= MIN_WORDS, path.parent
    assert "\nNot here: " in others, f"{path.parent}: add a paragraph 'Not here: ...'"


@pytest.mark.parametrize("folder", ["tests", "tools"])
def test_what_is_imported_from_the_package_is_there(folder: str) -> None:
    """A name that was changed in the package was changed in its tests, too."""
    missing = [
        f"{path.relative_to(ROOT.parent)}:{node.lineno} {node.module}.{alias.name}"
        for path in sorted((ROOT.parent / folder).rglob("*.py"))
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == ROOT.name
        for alias in node.names
        if not _has(node.module or "", alias.name)
    ]
    assert missing == []


def _has(module: str, name: str) -> bool:
    place = ROOT.parent.joinpath(*module.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not file.exists():
        return False
    return name in _names(file) or _is_module(f"{module}.{name}", ROOT)


@cache
def _names(file: Path) -> set[str]:
    nodes = list(ast.walk(_tree(file)))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom | ast.Import)]
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    assigned = {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return {*_defined(_tree(file)), *imported, *assigned}


def test_no_two_classes_have_the_same_name() -> None:
    names = Counter(
        node.name
        for path in FILES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_an_exception_of_what_is_kept_is_still_needed() -> None:
    used = {
        name: {
            keeper
            for _, module in _imports(_tree(ROOT / name), ROOT / name, ROOT)
            for keeper in KEEPERS
            if f"{module}.".startswith(f"{keeper}.")
        }
        for name in KEEP_THEMSELVES
    }
    assert used == {name: keepers for name, (keepers, _) in KEEP_THEMSELVES.items()}


def test_one_file_alone_starts_ray() -> None:
    """Another engine would be another file beside it."""
    users = {
        path
        for path in FILES
        for _, name in _imports(_tree(path), path, ROOT)
        if name.split(".")[0] == "ray"
    }
    assert users == {ROOT / "run" / "ray_workers.py"}


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in FILES}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_imports_point_down_only() -> None:
    """The table itself has no circle, and what must not know each other does not."""
    ours = {
        room: {one.split(".")[0] for one in may} & MAY_USE.keys() - {room}
        for room, may in MAY_USE.items()
    }
    floors: list[str] = []
    while len(floors) < len(ours):
        free = [room for room in ours if room not in floors and ours[room] <= set(floors)]
        assert free, f"a circle among {set(ours) - set(floors)}"
        floors += free
    apart = {"loader", "workers", "store", "reporter"}
    assert all(not MAY_USE[room] & apart for room in apart)
    assert not ours["simulator"]
    assert {room for room in ours if "simulator" in ours[room]} == {"cli"}


def test_each_outside_library_stays_in_its_rooms() -> None:
    rooms = {
        library: {room for room, may in MAY_USE.items() if library in may}
        for library in ("polars", "aiohttp", "httptools", "click", "rich")
    }
    assert rooms == {
        "polars": {"jobs", "loader", "reporter", "store", "ui"},
        "aiohttp": {"http_client", "simulator", "notify"},
        "httptools": {"http_client"},
        "click": {"cli"},
        "rich": {"cli", "ui"},
    }


# The checks themselves


@pytest.mark.parametrize(
    ("place", "source", "fault"),
    [
        # what it imports
        ("model/retry.py", "import time", "may not import time"),
        ("model/retry.py", "def _f():\n    from random import random", "may not import random"),
        ("model/retry.py", "from pipeline.workers import pool", "may not import pipeline.workers"),
        ("model/retry.py", "from pipeline import workers", "may not import pipeline.workers"),
        ("model/retry.py", "from .. import workers", "may not import pipeline.workers"),
        ("model/retry.py", "from ..workers.pool import x", "may not import pipeline.workers.pool"),
        ("vendors/acme.py", "import aiohttp", "may not import aiohttp"),
        ("vendors/acme.py", "import pkgutil", "may not import pkgutil"),
        ("loader/scan.py", "from pipeline.workers import run", "may not import pipeline.workers"),
        ("reporter/x.py", "from pipeline.store import x", "may not import pipeline.store"),
        ("workers/pool.py", "import polars as pl", "may not import polars"),
        ("workers/pool.py", "import aiohttp", "may not import aiohttp"),
        (
            "workers/pool.py",
            "from pipeline.http_client.transport import Transport",
            "may not import pipeline.http_client.transport",
        ),
        ("http_client/x.py", "from pipeline.workers import row", "may not import pipeline.workers"),
        ("http_client/x.py", "import pipeline.vendors", "may not import pipeline.vendors"),
        (
            "workers/pool.py",
            "from pipeline.vendors.acme import X",
            "may not import pipeline.vendors.acme",
        ),
        ("store/x.py", "import anyio", "may not import anyio"),
        ("model/x.py", "import http.client", "may not import http.client"),
        ("simulator/app.py", "from ..pacing import x", "may not import pipeline.pacing"),
        ("simulator/app.py", "import pipeline.model", "may not import pipeline.model"),
        ("reporter/x.py", "from pipeline.simulator import x", "may not import pipeline.simulator"),
        ("model/job.py", "import importlib", "may not import importlib"),
        ("loader/x.py", "import_module('pipeline.workers')", "may not import pipeline.workers"),
        # what it keeps
        ("watch/x.py", "import sqlite3", "may not use sqlite3"),
        ("run/x.py", "def _f():\n    import fcntl", "may not use fcntl"),
        ("run/x.py", "from pipeline.store.on_files import FileStore", "may not use pipeline.store"),
        ("run/recover.py", "import sqlite3", "may not use sqlite3"),
        # what it does
        ("model/gate.py", "async def _wait(): ...", "is async"),
        ("model/gate.py", "x = datetime.now(UTC)", "calls now()"),
        ("model/job.py", "x = path.read_text()", "calls read_text()"),
        ("vendors/acme.py", "x = open('f')", "calls open()"),
        ("vendors/acme.py", "def _f():\n    global x\n    x = 1", "a global with state"),
        # what it shows of a reply
        ("workers/x.py", "answer = classify(reply, confirmation)", "understands a reply"),
        ("run/x.py", "x = self.operation.decode(s, jobs, reply)", "understands a reply"),
        # how long it is
        ("workers/x.py", "def _f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES, "_f has 61 lines"),
        ("workers/x.py", "x = 1\n" * (MAX_FILE_LINES + 1), "has 602 lines"),
        # what it says
        ("workers/x.py", "def run(): ...", "run has no docstring"),
        ("workers/x.py", "class _A: ...\nclass B:\n    '''B.'''\n    def m(self): ...", "m has no"),
        # what it shows
        ("workers/x.py", "__all__ = ['a', 'b']\na = 1", "b is listed but not there"),
        ("workers/x.py", "__all__ = ['a']\na = 1\nb: int = 2", "b is public but not listed"),
        (
            "workers/__init__.py",
            "from pipeline.workers.pool import run\nfrom typing import Any\n__all__ = []",
            "run is public but not listed",
        ),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, place: str, source: str, fault: str) -> None:
    root = tmp_path / "pipeline"
    planted = root / place
    planted.parent.mkdir(parents=True)
    planted.write_text('"""What it is."""\n' + source)
    found = [each for check in CHECKS for each in check(planted, root)]
    assert len(found) == 1
    assert fault in found[0]
    assert place in found[0]


@pytest.mark.parametrize(
    ("place", "source"),
    [
        (
            "workers/pool.py",
            "import asyncio, time\nimport anyio\nfrom pipeline.model import Reply",
        ),
        ("workers/pool.py", "from pipeline.pacing.limiter import RateLimiter\nfrom .pool import x"),
        ("workers/pool.py", "from pipeline.vendors.kit.contract import Vendor"),
        ("vendors/__init__.py", "import importlib, pkgutil"),
        ("model/wire.py", "from pathlib import Path"),
        ("store/x.py", "import sqlite3, fcntl"),
        ("watch/folders.py", "import fcntl"),
        ("cli/__init__.py", "import click\nfrom pipeline.simulator.app import serve"),
        ("cli/__init__.py", "from pipeline.cli.x import y\n__all__ = ['a']\na = y"),
        ("pacing/rate.py", "from datetime import datetime\ndef _f(now): return now - datetime.min"),
        ("workers/x.py", "@overload\ndef f(): ...\n@override\ndef g(): ..."),
        ("workers/x.py", "def _f():\n" + "    x = 1\n" * (MAX_FUNCTION_LINES - 1)),
    ],
)
def test_what_is_allowed_is_no_fault(tmp_path: Path, place: str, source: str) -> None:
    root = tmp_path / "pipeline"
    planted = root / place
    planted.parent.mkdir(parents=True)
    planted.write_text('"""What it is."""\n' + source)
    assert [each for check in CHECKS for each in check(planted, root)] == []
