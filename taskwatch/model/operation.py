"""What an operator did, or asks the running daemon to do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    REPLAY = "replay"
    DROP = "drop"
    ACK = "ack"
    SILENCE = "silence"
    EXPIRE = "expire"  # of silences
    STATE_INIT = "state_init"
    # Done by the daemon:
    POLL = "poll"
    RESOLVE = "resolve"
    RECEIVER_TEST = "receiver_test"
    RELOAD = "reload"
    FRESHEN = "freshen"  # record now how fresh all is: a question, no act of an operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One row of the record of operations. `outcome` is None until it is done."""

    id: int
    action: str  # an Action, or one that only a newer taskwatch knows
    argument: dict[str, Any]  # JSON: what exactly
    by: str
    at: datetime
    outcome: dict[str, Any] | None
