"""What changed that can be seen in what a node earns: campaigns, settings, models, experiments.

Kept by the fold, since the journal forgets after days what a picture of months is to show; the newest only.
"""

from __future__ import annotations

from msgspec import Struct

from app.domain.catalogue import Campaign, Experiment, Thing
from app.domain.lines import FoldSettings

KEPT = 1_000
MERGED_MS = 60_000
NAMED_SETTINGS = 3
_VERBS = {"active": "launched", "paused": "paused", "archived": "archived"}


class Change(Struct, frozen=True, array_like=True):
    """One change, or several alike within a minute. `what` is the first one's id.

    `kind`: campaign, settings, model or experiment; `how` is a verb, or more words about it.
    """

    at_ms: int
    kind: str
    how: str
    what: str = ""
    count: int = 1

    @property
    def label(self) -> str:
        """Tell it in a few words.

        >>> Change(0, "campaign", "launched", "c-1").label, Change(0, "campaign", "launched", "c-1", 40).label
        ('c-1 launched', '40 campaigns launched')
        """
        if self.count > 1:
            return f"{self.count} {self.kind}s {self.how}"
        if not self.what:
            return f"{self.kind} {self.how}"
        return f"{self.what} {self.how}"


class Changes:
    """The newest changes, oldest first."""

    def __init__(self) -> None:
        self.kept: list[Change] = []

    def note(self, change: Change) -> None:
        """Keep a change; the same again within a minute is one with it."""
        last = self.kept[-1] if self.kept else None
        alike = last is not None and (last.kind, last.how) == (change.kind, change.how)
        if last is not None and alike and change.at_ms - last.at_ms < MERGED_MS:
            self.kept[-1] = Change(last.at_ms, last.kind, last.how, last.what, last.count + 1)
            return
        self.kept.append(change)
        del self.kept[:-KEPT]

    def catalogued(self, at_ms: int, thing: Thing, before: Thing | None) -> None:
        """Note what a line of the catalogue changes, if it is of this sort."""
        how = ""
        if isinstance(thing, Campaign):
            was = before.status if isinstance(before, Campaign) else "none"
            how = (
                _VERBS[thing.status]
                if thing.status != was and (was, thing.status) != ("none", "paused")
                else ""
            )
        elif isinstance(thing, Experiment):
            how = _how_of(thing, before if isinstance(before, Experiment) else None)
        if how:
            kind = "campaign" if isinstance(thing, Campaign) else "experiment"
            self.note(Change(at_ms, kind, how, thing.id))

    def configured(self, at_ms: int, settings: FoldSettings, before: FoldSettings) -> None:
        """Note which settings are others now."""
        names = [
            name
            for name in FoldSettings.__struct_fields__
            if getattr(settings, name) != getattr(before, name)
        ]
        if names:
            more = f" and {len(names) - NAMED_SETTINGS} more" if len(names) > NAMED_SETTINGS else ""
            self.note(Change(at_ms, "settings", "changed: " + ", ".join(names[:NAMED_SETTINGS]) + more))

    def check(self) -> None:
        """Hold that they are few, and in order."""
        assert len(self.kept) <= KEPT
        assert all(one.count >= 1 for one in self.kept)


def _how_of(experiment: Experiment, before: Experiment | None) -> str:
    """Tell what an edit of an experiment did to what users get."""
    ran = before is not None and before.runs
    if experiment.promoted is not None:
        return f"promoted {experiment.promoted}" if ran else ""
    if experiment.runs != ran:
        return f"started at {_shares(experiment)}" if experiment.runs else "stopped"
    if before is not None and ran and _shares(experiment) != _shares(before):
        return f"ramped to {_shares(experiment)}"
    return ""


def _shares(experiment: Experiment) -> str:
    """Write the share of each variant that users get."""
    return (
        ", ".join(f"{variant.name} {100 * variant.share:g} %" for variant in experiment.served) or "shadows"
    )
