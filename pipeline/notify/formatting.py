"""An event as a line of a log, and as the body of a message. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal

from pipeline.model.formatting import number, one_line
from pipeline.notify.events import (
    Event,
    Level,
    NothingArrived,
    Quarantined,
    RunEnded,
    RunFailed,
)

Body = Literal["slack", "teams", "json"]

STOPPED_CODE = 3
_BUSY_CODE = 4
_MAX_CHARS = 500
_GAP = "\u200b"


def name_of(event: Event) -> str:
    """The name of its kind.

    >>> name_of(Quarantined(file="a.csv", why="empty"))
    'quarantined'
    """
    return re.sub(r"(?<!^)([A-Z])", r"_\1", type(event).__name__).lower()


def level_of(event: Event) -> Level:
    """The severity of an event; the end of a failed run is a warning or an error."""
    if isinstance(event, RunEnded):
        if event.exit_code == 0:
            return "warning" if event.unusual else "info"
        return "warning" if event.exit_code == 1 else "error"
    return event.LEVEL


def occasion_of(event: Event) -> Literal["end", "failure", "stopped", "nothing_arrived"] | None:
    """The `notify.on` value that selects an event; None if it is never sent.

    >>> occasion_of(NothingArrived(where="inputs"))
    'nothing_arrived'
    """
    match event:
        case RunEnded(exit_code=0, unusual=""):
            return "end"
        case RunEnded(exit_code=code):
            return "stopped" if code == STOPPED_CODE else "failure"
        case RunFailed() | Quarantined():
            return "failure"
        case NothingArrived():
            return "nothing_arrived"
    return None


def as_json(event: Event, now: datetime) -> str:
    r"""One line of JSON.

    >>> as_json(Quarantined(file="a.csv", why="empty"), datetime(2026, 5, 1, tzinfo=UTC))
    '{"time":"2026-05-01T00:00:00.000Z","level":"error","event":"quarantined","file":"a.csv","why":"empty"}'
    """
    return json.dumps({**_head(event, now), **_fields(event)}, separators=(",", ":"))


def as_text(event: Event, now: datetime) -> str:
    """One line for people, `key=value`.

    >>> as_text(Quarantined(file="a.csv", why="it is empty"), datetime(2026, 5, 1, tzinfo=UTC))
    '2026-05-01T00:00:00.000Z ERROR quarantined file=a.csv why="it is empty"'
    """
    head = _head(event, now)
    fields = " ".join(f"{key}={_plain(value)}" for key, value in _fields(event).items())
    return f"{head['time']} {head['level'].upper()} {head['event']} {fields}"


def _head(event: Event, now: datetime) -> dict[str, str]:
    moment = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"time": moment, "level": level_of(event), "event": name_of(event)}


def _fields(event: Event) -> dict[str, Any]:
    """The fields of an event: text on one line and shortened, zero counts left out."""
    fields: dict[str, Any] = {}
    for key, value in asdict(event).items():
        if isinstance(value, str):
            fields[key] = one_line(value)[:_MAX_CHARS]
        elif isinstance(value, Mapping):
            fields[key] = {str(name): count for name, count in value.items() if count}
        else:
            fields[key] = value
    return fields


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{count}" for name, count in value.items()) or "-"
    text = "-" if value in (None, "") else str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[\s"=]', text) else text


def message(event: Event) -> str:
    """The text of a chat message, a few lines.

    >>> message(Quarantined(file="a.csv", why="it is empty"))
    'a.csv was quarantined: it is empty'
    """
    match event:
        case RunEnded():
            lines = [f"{_verdict(event)}: {event.file}", f"{event.why}."]
            lines += [event.unusual, event.stopped and f"stopped: {event.stopped}"]
            unknown = event.statuses.get("unknown")
            if unknown:
                lines.append(f"{number(unknown)} rows may have been applied (unknown)")
            lines.append(f"run {event.run}, exit code {event.exit_code}, report {event.report}")
        case RunFailed():
            lines = [f"{event.file} was not sent, or not all of it: {event.why}"]
        case Quarantined():
            lines = [f"{event.file} was quarantined: {event.why}"]
        case NothingArrived():
            more = f", expected {event.expected}" if event.expected else ""
            lines = [f"Nothing arrived in {event.where}{more}"]
        case _:
            lines = [name_of(event)]
    return "\n".join(one_line(line)[:_MAX_CHARS] for line in lines if line)


def _verdict(event: RunEnded) -> str:
    if event.exit_code == 0:
        return "Succeeded" if not event.unusual else "Unusual result"
    if event.exit_code == STOPPED_CODE:
        return "Stopped"
    return "Some rows did not succeed" if event.exit_code == 1 else "Not sent or interrupted"


def body(event: Event, now: datetime, kind: Body) -> bytes:
    """The body of a webhook request, UTF-8 JSON.

    slack  `{"text": ...}`, also for Mattermost and Google Chat
    teams  a message with an adaptive card, for Teams workflows
    json   every field, with `text`
    """
    text = message(event)
    payload: dict[str, Any] = {"text": for_chat(text)}
    if kind == "json":
        payload = {**_head(event, now), **_fields(event), "text": text}
    elif kind == "teams":
        # RichTextBlock shows text literally; TextBlock interprets Markdown
        lines = [
            {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": line}]}
            for line in text.split("\n")
        ]
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": lines,
        }
        kind_of_card = "application/vnd.microsoft.card.adaptive"
        payload = {
            "type": "message",
            "attachments": [{"contentType": kind_of_card, "content": card}],
        }
    return json.dumps(payload).encode()


def for_chat(text: str) -> str:
    """Text without mentions, links or pictures in Slack, Mattermost and Google Chat.

    A zero-width space breaks what cannot be escaped: mentions, Markdown links, bare URLs.

    >>> for_chat("<!channel> & co")
    '&lt;!channel&gt; &amp; co'
    >>> for_chat("@all ![x](http://a.example)").replace(_GAP, "|")
    '@|all ![x]|(http:|//a.example)'
    """
    for mark, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, escaped)
    for mark, broken in (("@", f"@{_GAP}"), ("](", f"]{_GAP}("), ("://", f":{_GAP}//")):
        text = text.replace(mark, broken)
    return text
