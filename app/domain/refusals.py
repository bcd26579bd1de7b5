"""Saying no: one vocabulary for the whole house. `Refused` is the caller's fault, `Busy` is ours.

The doors turn codes into statuses by one table (`app/web/problems.py`); no code here knows of HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field, the field written as `placements[0].sizes[1]`."""

    field: str
    code: str
    message: str


class Refused(Exception):
    """The caller asked for something that cannot be done. Nothing was changed."""

    def __init__(
        self, code: str, message: str, field: str | None = None, errors: tuple[FieldError, ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field if field is not None else (errors[0].field if errors else None)
        self.errors = errors


class Busy(Exception):
    """We cannot do it now; the caller may try again."""

    def __init__(self, code: str, retry_after_ms: int) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after_ms = retry_after_ms
