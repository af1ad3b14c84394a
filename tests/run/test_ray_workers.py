"""How a Ray is started, without one."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.run.ray_workers import join_cluster


class StubRay:
    """Fails to start with these errors, then starts."""

    def __init__(self, *errors: str) -> None:
        self.errors = [*errors]
        self.calls: list[str] = []

    def init(self, **_how: Any) -> None:
        self.calls.append("init")
        if self.errors:
            raise RuntimeError(self.errors.pop(0))

    def shutdown(self) -> None:
        self.calls.append("shutdown")


SLOW = "The current node timed out during startup."


@pytest.mark.parametrize(
    ("errors", "calls"),
    [
        ((), ["init"]),
        ((SLOW,), ["init", "shutdown", "init"]),  # the machine was busy
    ],
)
def test_a_node_that_starts_too_slowly_is_started_again(errors, calls):
    ray = StubRay(*errors)
    join_cluster(ray, {})
    assert ray.calls == calls


@pytest.mark.parametrize(
    ("errors", "inits"),
    [
        ((SLOW, SLOW), 2),  # once more, not for ever
        (("Version mismatch",), 1),  # another try would end as this one did
    ],
)
def test_other_failures_are_told(errors, inits):
    ray = StubRay(*errors)
    with pytest.raises(RuntimeError, match=errors[-1]):
        join_cluster(ray, {})
    assert ray.calls.count("init") == inits
