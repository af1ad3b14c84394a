"""The drop folder: files that are dropped are taken once, sent, and put where they belong."""

from pipeline.watch.claims import Claim, Drops
from pipeline.watch.events import Beat, Begun, Came, Ended, Event, Late, LeftAlone, SetAside
from pipeline.watch.expect import Expectation, parse_expectation
from pipeline.watch.prepared import ended, finish, is_begun, is_left, prepare_claim
from pipeline.watch.settling import SETTLE_S, Settling
from pipeline.watch.watcher import Watcher

__all__ = [
    "SETTLE_S",
    "Beat",
    "Begun",
    "Came",
    "Claim",
    "Drops",
    "Ended",
    "Event",
    "Expectation",
    "Late",
    "LeftAlone",
    "SetAside",
    "Settling",
    "Watcher",
    "ended",
    "finish",
    "is_begun",
    "is_left",
    "parse_expectation",
    "prepare_claim",
]
