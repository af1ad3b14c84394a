"""The Thrift reader gives up on what no writer makes."""

import pytest

from pipeline.store.thrift import ThriftError, ThriftReader

DEEP = 2_000
LIST_OF_ONE_LIST = b"\x19"
STRUCT_WITH_A_STRUCT = b"\x1c"


@pytest.mark.parametrize(
    "nested",
    [LIST_OF_ONE_LIST * DEEP, STRUCT_WITH_A_STRUCT * DEEP, b"\x19\x1c" * DEEP],
    ids=["lists", "structs", "lists of structs"],
)
@pytest.mark.parametrize("wanted", [None, frozenset()], ids=["read", "skipped"])
def test_what_is_nested_too_deep_is_broken_and_no_recursion_without_end(nested, wanted):
    with pytest.raises(ThriftError):
        ThriftReader(nested).struct(wanted)
