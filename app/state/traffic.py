"""What the fold knows of the traffic itself: enough to tell an honest event from one that nobody meant.

Written by `apply` alone, and only while `invalid_traffic` is not off. A verdict depends on the line and on
what came before it; it is the same in every fold of the same lines.
"""

from __future__ import annotations

from app.domain.lines import Clicked, Converted, Dismissed, FoldSettings, Returned, Shown


class Traffic:
    """Judges events. An empty reason is a valid event's; the codes are `app.rules.invalid_traffic`'s."""

    def __init__(self) -> None:
        self.watches = False  # is anything looked for?
        self.blocks = False  # is what is found neither billed nor learned?

    def configure(self, settings: FoldSettings) -> None:
        """Take new settings."""
        self.watches = settings.invalid_traffic != "off"
        self.blocks = settings.invalid_traffic == "on"

    def shown(self, line: Shown) -> str:
        """Judge an impression."""
        return self._door(line) if self.watches else ""

    def clicked(self, line: Clicked) -> str:
        """Judge a click whose impression is valid."""
        return self._door(line) if self.watches else ""

    def noted(self, line: Converted | Dismissed | Returned) -> str:
        """Judge a conversion, a dismissal or a return: by the door's lists alone."""
        return self._door(line) if self.watches else ""

    @staticmethod
    def _door(line: Shown | Clicked | Converted | Dismissed | Returned) -> str:
        return line.sender.flaw if line.sender is not None else ""
