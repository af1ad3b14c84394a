"""Finds the operation and the account of a row. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.loader.cell_error import CellError
from pipeline.loader.cells import clean
from pipeline.loader.suggestions import nearest
from pipeline.model import Fault, InputSettings
from pipeline.model.errors import shorten
from pipeline.vendors.kit.account import Account

SAMPLE_PREFIX = "sample-"

SAY_OPERATION = (
    "Give it with --operation, in a column operation, or by the folder inputs/<operation>/"
)


@dataclass(frozen=True, slots=True)
class Route:
    """The operation and account of a row; empty if unknown, with the reason in `faults`."""

    operation: str
    account: str
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class RoutingCells:
    """The routing cells of a row; None if the file has no such column."""

    operation: str | None = None
    account: str | None = None
    own_operation: str | None = None
    own_account: str | None = None


class Router:
    """Routes the rows of one file.

    operations          names of the known operations
    operation, account  given with the command; None if not given
    folder_operation    the operation whose folder holds the file; None outside such a folder
    """

    def __init__(
        self,
        *,
        operations: tuple[str, ...],
        accounts: Mapping[str, Account],
        inputs: Mapping[str, InputSettings],
        operation: str | None,
        folder_operation: str | None,
        account: str | None,
    ) -> None:
        self._operations = operations
        self._accounts = accounts
        self._inputs = inputs
        self._given = operation or folder_operation
        self._given_by = "the command" if operation else "the file's folder"
        self._account = account

    def route(self, cells: RoutingCells) -> Route:
        """The route of a row, with all its faults."""
        faults: list[Fault] = []
        operation = self._operation(cells, faults)
        account = self._account_of(cells, operation, faults) if operation else ""
        return Route(operation, account, tuple(faults))

    def _operation(self, cells: RoutingCells, faults: list[Fault]) -> str:
        named = _word(cells.operation, "operation", faults)
        own = _word(cells.own_operation, "_operation", faults)
        if named and self._given and named != self._given:
            faults.append(
                Fault(
                    what=f"{self._given_by} says {self._given}, the row says otherwise",
                    column="operation",
                    value=shorten(named),
                )
            )
            return ""
        name = self._given or named or own
        if name in self._operations:
            return name
        if not faults:
            faults.append(_unknown_operation(name, self._operations))
        return ""

    def _account_of(self, cells: RoutingCells, operation: str, faults: list[Fault]) -> str:
        named = _word(cells.account, "account", faults)
        own = _word(cells.own_account, "_account", faults)
        vendor = operation.partition(".")[0]
        if self._account is not None:
            if named and named != self._account:
                faults.append(
                    Fault(
                        what=f"the command says account {self._account}, the row says otherwise",
                        column="account",
                        value=shorten(named),
                    )
                )
                return ""
            return self._of_vendor(self._account, vendor, faults)
        if named or own:
            column = "account" if named else "_account"
            return self._allowed(named or own, column, operation, faults)
        only = self._only_of(vendor)
        if only is None:
            faults.append(self._not_one(vendor))
        return only or ""

    def _of_vendor(self, name: str, vendor: str, faults: list[Fault]) -> str:
        account = self._accounts.get(name)
        if account is not None and account.vendor.name == vendor:
            return name
        theirs = "an unknown account" if account is None else f"one of {account.vendor.name}"
        faults.append(Fault(what=f"account {name} is {theirs}, the row is for {vendor}"))
        return ""

    def _allowed(self, name: str, column: str, operation: str, faults: list[Fault]) -> str:
        vendor = operation.partition(".")[0]
        allowed = self._may_name(operation, vendor)
        known = self._accounts.get(name)
        if name in allowed or (known is not None and known.vendor.name != vendor):
            return self._of_vendor(name, vendor, faults)
        todo = None
        if known is not None:
            todo = f'List it under [input."{operation}"] as accounts = ["{name}"]'
        elif name.startswith(SAMPLE_PREFIX):
            todo = "Accounts of this name exist in the simulator only: --simulate"
        faults.append(
            Fault(
                what="an account that the file is not allowed to name",
                column=column,
                value=shorten(name),
                expected=f"one of {', '.join(sorted(allowed))}" if allowed else None,
                todo=todo,
            )
        )
        return ""

    def _may_name(self, operation: str, vendor: str) -> frozenset[str]:
        """The accounts that a column may name. Sample accounts only reach the simulator."""
        listed = self._inputs.get(operation, InputSettings()).accounts
        only = self._only_of(vendor)
        named = listed if listed is not None else ((only,) if only else ())
        samples = (name for name in self._accounts if name.startswith(SAMPLE_PREFIX))
        return frozenset((*named, *samples))

    def _only_of(self, vendor: str) -> str | None:
        """The vendor's only account. Sample accounts count only if there is no other."""
        names = [name for name, account in self._accounts.items() if account.vendor.name == vendor]
        own = [name for name in names if not name.startswith(SAMPLE_PREFIX)] or names
        return own[0] if len(own) == 1 else None

    def _not_one(self, vendor: str) -> Fault:
        names = [name for name, account in self._accounts.items() if account.vendor.name == vendor]
        if not names:
            what = f"no account of {vendor} is configured"
            return Fault(what=what, todo="Add one as [accounts.NAME] to pipeline.toml")
        return Fault(
            what=f"{vendor} has several accounts and none is given",
            expected=f"one of {', '.join(names)}",
            todo="Give one with --account, or in a column account",
        )


def _word(text: str | None, column: str, faults: list[Fault]) -> str:
    try:
        return clean(text or "")
    except CellError as error:
        faults.append(Fault(what=error.what, column=column, value=shorten(text)))
        return ""


def _unknown_operation(name: str, known: tuple[str, ...]) -> Fault:
    if not name:
        return Fault(
            what="no operation is given for the row",
            expected=f"one of {', '.join(known)}",
            todo=SAY_OPERATION,
        )
    near = nearest(name, known)
    return Fault(
        what="an unknown operation",
        value=shorten(name),
        expected=f"one of {', '.join(known)}",
        todo=f"Perhaps {near} was meant" if near else None,
    )
