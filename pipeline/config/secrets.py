"""Reads secrets from the sources that the configuration references."""

from __future__ import annotations

import shlex
import subprocess
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from pipeline.config.findings import Findings
from pipeline.config.keys import REFERENCE, absolute
from pipeline.vendors.kit.contract import Vendor

COMMAND_TIMEOUT_S = 30.0


def secret_keys(vendor: Vendor[Any]) -> set[str]:
    """The settings of a vendor that are secrets."""
    fields = vendor.settings.model_fields.items()
    return {name for name, info in fields if _holds_secret(info.annotation)}


def _holds_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(_holds_secret, typing.get_args(annotation)))


@dataclass(frozen=True, slots=True)
class Secrets:
    """Reads references. A fault names account, key and source, never the secret.

    account  the account's name; empty if the keys are in `table` itself
    table    empty if the keys are in none
    folder   base of relative paths, and working directory of commands
    """

    account: str
    folder: Path
    environ: Mapping[str, str] = field(repr=False)
    findings: Findings = field(repr=False)
    table: str = "accounts"

    def maybe(self, key: str, value: str) -> str:
        """Return the secret if `value` is a reference, else `value`."""
        return self.read(key, value) if REFERENCE.fullmatch(value) else value

    def read(self, key: str, reference: str) -> str:
        """Return the secret; empty if there is a fault, which goes to `findings`.

        Raises ValueError if `reference` is not a reference.
        """
        found = REFERENCE.fullmatch(reference)
        if found is None:
            raise ValueError("not a reference")
        kind, what = found.groups()
        try:
            text = self._reader(kind)(what).strip()
        except _UnreadableError as error:
            text, wrong = "", str(error)
        else:
            wrong = "is empty" if not text else "holds control characters"
        if not text or not text.isprintable():
            path = tuple(filter(None, (self.table, self.account, key)))
            todo = "Put the secret there, or correct the reference. --simulate needs no secret"
            self.findings.add(path, f"{_source(kind, what)} {wrong}", todo=todo)
            return ""
        return text

    def _reader(self, kind: str) -> Callable[[str], str]:
        readers = {"env": self._of_env, "file": self._of_file, "command": self._of_command}
        return readers[kind]

    def _of_env(self, name: str) -> str:
        if name not in self.environ:
            raise _UnreadableError("is not set")
        return self.environ[name]

    def _of_file(self, name: str) -> str:
        try:
            with absolute(self.folder, name).open(encoding="utf-8-sig") as lines:
                return lines.readline()
        except OSError as error:
            why = error.strerror
        except UnicodeDecodeError:
            why = "it is not UTF-8 text"
        raise _UnreadableError(f"cannot be read: {why}")

    def _of_command(self, line: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - the configuration's own command, no shell
                shlex.split(line),
                cwd=self.folder,
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,  # the error stream may hold the secret: it is not shown
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
            text = done.stdout.decode()
        except subprocess.TimeoutExpired:
            why = f"took longer than {COMMAND_TIMEOUT_S:g} s"
        except OSError as error:
            why = f"cannot be run: {error.strerror}"
        except ValueError:
            why = "has an unclosed quote, or its output is not UTF-8 text"
        else:
            if done.returncode == 0:
                return text
            why = f"failed with exit code {done.returncode}"
        raise _UnreadableError(why)


class _UnreadableError(Exception):
    """Why a reference cannot be read."""


def _source(kind: str, what: str) -> str:
    """A reference for a message. Of a command only the program: its arguments may be secret.

    >>> _source("command", "vault read token=t"), _source("env", "KEY")
    ('the command vault', 'the environment variable KEY')
    """
    if kind == "command":
        return f"the command {what.split(maxsplit=1)[0]}"
    return f"the environment variable {what}" if kind == "env" else f"the file {what}"
