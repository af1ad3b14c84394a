"""Compiled templates are kept, and never used after a change."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from jinja2 import DictLoader, Environment

from pipeline.ui.html.compiled_templates import CompiledTemplates


@pytest.fixture(autouse=True)
def _byte_code_is_written(monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


def _rendered(folder: Path, text: str, made_by: Path, *, trim: bool = False) -> tuple[str, bool]:
    """The text that the template makes, and whether jinja compiled it."""
    environment = Environment(  # noqa: S701
        loader=DictLoader({"page": text}),
        bytecode_cache=CompiledTemplates(folder, made_by),
        trim_blocks=trim,
    )
    compiled: list[str] = []
    compile_text = environment.compile

    def note(*args, **options):
        compiled.append(text)
        return compile_text(*args, **options)

    environment.compile = note  # type: ignore[method-assign]
    return environment.get_template("page").render(), bool(compiled)


@pytest.fixture
def module(tmp_path) -> Path:
    path = tmp_path / "render.py"
    path.touch()
    return path


def test_a_template_is_compiled_once(tmp_path, module):
    folder = tmp_path / "kept"
    assert _rendered(folder, "{{ 1 + 1 }}", module) == ("2", True)
    assert _rendered(folder, "{{ 1 + 1 }}", module) == ("2", False)
    assert [path.suffix for path in folder.iterdir()] == [".jinja"]


def test_a_changed_template_is_compiled_anew(tmp_path, module):
    _rendered(tmp_path, "old", module)
    assert _rendered(tmp_path, "new", module) == ("new", True)


def test_a_changed_set_up_is_compiled_anew(tmp_path, module):
    text = "{% if true %}\nx{% endif %}"
    assert _rendered(tmp_path, text, module) == ("\nx", True)
    os.utime(module, ns=(1, 1))
    assert _rendered(tmp_path, text, module, trim=True) == ("x", True)


@pytest.mark.parametrize("damage", [b"\0", b"j2 and something else"])
def test_a_damaged_file_counts_as_none(tmp_path, module, damage):
    folder = tmp_path / "kept"
    _rendered(folder, "text", module)
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    for broken in (damage, whole[: len(whole) // 2], damage + whole):
        kept.write_bytes(broken)
        assert _rendered(folder, "text", module) == ("text", True)


def test_a_folder_that_cannot_be_made_only_costs_time(tmp_path, module):
    folder = module / "kept"  # below a file
    assert _rendered(folder, "text", module) == ("text", True)


def test_nothing_is_kept_where_python_keeps_no_byte_code(tmp_path, module, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = tmp_path / "kept"
    _rendered(folder, "text", module)
    assert not folder.exists()
