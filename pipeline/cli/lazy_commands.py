"""Commands that are imported when they are used: a list of commands needs no engine."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import NamedTuple, cast

import click


class CommandPlace(NamedTuple):
    """Where a command is defined, and what a list of commands says of it.

    module       defines a command of this name
    short_help   shown in full; None if the first sentence of `help` is shown instead
    help         first paragraph of the command's own help; None if it has a short help
    """

    name: str
    module: str
    short_help: str | None = None
    help: str | None = None


class _Listed(click.Command):
    """Stands in a list for a command that is not imported yet."""

    def __init__(self, place: CommandPlace) -> None:
        super().__init__(place.name, short_help=place.short_help, help=place.help)
        self._place = place

    def load(self) -> click.Command:
        """Import the command."""
        module = sys.modules.get(self._place.module) or _import_whole(self._place.module)
        return cast("click.Command", getattr(module, self._place.name))


def _import_whole(name: str) -> ModuleType:
    """Import a module and what it needs, which stays until the process ends.

    So it need not be looked through for garbage, neither meanwhile nor later. At the end nothing
    need be: the system takes back the memory at once, and a search would take up to 0.2 s.
    """
    atexit.register(gc.freeze)
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.enable()
        gc.freeze()


class LazyGroup(click.Group):
    """Lists commands in the given order and imports one when it is called.

    `commands` holds stand-ins, which is enough for lists, suggestions and completion of names.
    """

    def add_places(self, places: Sequence[CommandPlace]) -> None:
        """Add commands by their places."""
        for place in places:
            self.add_command(_Listed(place))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own signature
        """The names in the order in which they were added."""
        return list(self.commands)

    def load(self, name: str) -> click.Command:
        """Import a command. Raises KeyError if there is none of this name."""
        found = self.commands[name]
        return found.load() if isinstance(found, _Listed) else found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it; the command that is called is imported."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found.load() if isinstance(found, _Listed) else found, rest
