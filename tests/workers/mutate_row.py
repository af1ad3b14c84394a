"""Breaks the rules of a row's life one at a time, in a copy, and shows which tests notice.

Each mutation replaces one piece of text, which must be there exactly once. A mutation that no test
notices fails the command: `make mutations`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ROW = "pipeline/workers/row.py"
TABLE = "tests/workers/test_row.py", "-k", "follows or next_request"
WALK = ("tests/workers/test_row_walk.py",)
DOUBT, GROUPS, SCRIPTED, SENDER, GUARDS, LIMITER = (
    f"tests/workers/test_{name}.py"
    for name in (
        *("doubt", "groups", "scripted", "account_sender", "preconditions"),
        "concurrency_limiter",
    )
)


class Mutation(NamedTuple):
    """A rule that is broken.

    tests  of the engine, which knows nothing of the tables; each must notice
    """

    what: str
    old: str
    new: str
    tests: tuple[str, ...] = ()
    file: str = ROW


MUTATIONS = (
    Mutation(
        "a claim is skipped",
        "        row = Row(job)\n",
        "        row = Row(job)\n        row.is_claimed = True\n",
        (SENDER,),
        "pipeline/workers/entity_queue.py",
    ),
    Mutation(
        "doubt is forgotten after a refusal",
        "return was_in_doubt or answer.effect is Effect.MAYBE",
        "return answer.effect is Effect.MAYBE",
        (SCRIPTED,),
    ),
    Mutation(
        "an attempt that may have been applied raises no doubt",
        "return was_in_doubt or answer.effect is Effect.MAYBE",
        "return was_in_doubt",
        (DOUBT,),
    ),
    Mutation(
        "a retry too many",
        "attempt >= policy.max_attempts",
        "attempt > policy.max_attempts",
        (SENDER,),
        "pipeline/model/retry.py",
    ),
    Mutation(
        "a row that must not be repeated is sent again in doubt",
        "may_repeat = row.is_repeatable or not row.in_doubt",
        "may_repeat = True",  # `next_step` has it read all the same
    ),
    Mutation(
        "a row in doubt of an earlier process is sent again without a read",
        "if row.needs_read or (is_unsure and not (is_prechecked_first and has_previous())):",
        "if row.needs_read:",
        (DOUBT,),
    ),
    Mutation(
        "a row counts as updated if a read cannot tell",
        "if found.is_held:",
        "if found.is_held or not found.can_tell:",
        (DOUBT,),
    ),
    Mutation(
        "a read does not wait until the vendor is done",
        "if since_attempt_s < found.settle_after_s:",
        "if found.settle_after_s < 0:",
        (DOUBT,),
    ),
    Mutation(
        "a read that shows no update leaves the doubt",
        "row.in_doubt = row.needs_read = False",
        "row.needs_read = False",
        (DOUBT,),
    ),
    Mutation(
        "a stop forgets doubt",
        "    if row.in_doubt:\n        if row.is_repeatable or can_be_read:",
        "    if row.in_doubt and row.needs_read:\n        if row.is_repeatable or can_be_read:",
        (SENDER,),
    ),
    Mutation(
        "a refused precondition counts as a refused row",
        "if status is Status.REJECTED and _is_guard_refused(row, answer, facts):",
        "if status is Status.UNKNOWN and _is_guard_refused(row, answer, facts):",
        (GUARDS,),
    ),
    Mutation(
        "a precondition is dropped on the way",
        "    row.guarded_text = guard.text\n",
        "    row.guarded_text = row.text\n",
        (GUARDS,),
    ),
    Mutation(
        "a group that fails again stays together",
        "return answer.verdict in RETRYABLE and counted_attempts >= min(2, most)",
        "return False",
        (GROUPS,),
    ),
    Mutation(
        "a throttled account uses up its rows' attempts",
        "    if not facts.is_counted:\n        return row.counted_attempts\n",
        "",
        (LIMITER,),
    ),
    Mutation(
        "a 403 ends its row before it is known whether the account works",
        "    if answer.verdict is Verdict.FATAL:\n        return Hold(answer)\n"
        "    if not row.in_doubt and is_unreached(answer):",
        "    if not row.in_doubt and is_unreached(answer):",
        (SENDER,),
    ),
    Mutation(
        "a row fails for want of a connection",
        "    if not row.in_doubt and is_unreached(answer):\n        return Then.AWAIT_CONNECTION\n"
        "    return Finish(status, answer)",
        "    return Finish(status, answer)",
    ),
)


def main() -> int:
    """Run the mutations whose number is given, or all; 1 if one goes unnoticed."""
    chosen = [int(each) for each in sys.argv[1:]] or range(1, len(MUTATIONS) + 1)
    missed = 0
    print("| mutation | table | walk | engine |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("pipeline", "tests"):
            shutil.copytree(ROOT / name, copy / name)
        shutil.copy(ROOT / "pyproject.toml", copy)
        for number in chosen:
            mutation = MUTATIONS[number - 1]
            noticed = _try(copy, mutation)
            missed += not all(noticed[2:]) or not any(noticed)
            shown = ["red" if each else "green" for each in noticed]
            engine = ", ".join(
                f"{Path(test).stem} {word}"
                for test, word in zip(mutation.tests, shown[2:], strict=True)
            )
            print(f"| {number}. {mutation.what} | {shown[0]} | {shown[1]} | {engine} |", flush=True)
    print(f"{missed} of {len(chosen)} mutations missed.")
    return 1 if missed else 0


def _try(copy: Path, mutation: Mutation) -> list[bool]:
    """Apply a mutation to the copy, run its tests, take it back; return which tests notice."""
    file = copy / mutation.file
    text = file.read_text()
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.what}: not once in {mutation.file}: {mutation.old!r}")
    file.write_text(text.replace(mutation.old, mutation.new))
    try:
        return [
            _is_red(copy, *tests) for tests in (TABLE, WALK, *((each,) for each in mutation.tests))
        ]
    finally:
        file.write_text(text)


def _is_red(copy: Path, *tests: str) -> bool:
    code = (
        "import pipeline, sys, pytest; assert pipeline.__file__.startswith(sys.argv.pop(1)); "
        "sys.exit(pytest.main(sys.argv[1:]))"
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(copy),
        "-qx",
        "--no-header",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*command, *tests],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {0, 1}:
        raise SystemExit(done.stdout + done.stderr)
    return done.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
