"""What applying a line tells: whoever sent it, and the journal's id rows."""

from __future__ import annotations

from msgspec import Struct

from app.domain.lines import Verdict

VIEW_THROUGH = "view_through"


class Receipt(Struct, frozen=True):
    """What became of an event. Units: micros. With a `code` the seeming fields tell what others are told.

    `note` says to everybody why a valid event bills nothing (VIEW_THROUGH: no click of its ad has counted).
    """

    event_id: bytes
    position: int
    status: str  # counted | held
    billed_micros: int = 0
    unbilled_micros: int = 0
    learned: bool = False
    code: str | None = None  # why it is invalid
    seeming_billed_micros: int = 0  # what a valid one would have been answered, for those who must not know
    seeming_learned: bool = False
    note: str | None = None


class Outcome(Struct):
    """What a line did: its receipt (events only) and the verdicts to write back to id rows.

    The first `first_count` verdicts bill what was not billed before; those after them are judged anew.
    """

    receipt: Receipt | None = None
    verdicts: list[tuple[bytes, Verdict]] = []
    first_count: int = 1


def receipt_of(
    event: bytes, position: int, billed: int, unbilled: int, learned: bool, code: str | None
) -> Receipt:
    """Write the receipt of an event that counted as valid, `code` or not."""
    return Receipt(event, position, "counted", billed, unbilled, learned, code, billed, learned)
