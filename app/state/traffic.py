"""What the fold knows of the traffic itself: enough to tell an honest event from one that nobody meant.

Written by `apply` alone, and only while `invalid_traffic` is not off. A verdict depends on the line and on
what came before it; it is the same in every fold of the same lines. What is found only later (that a click
belonged to a burst, or to a publisher whose rate nobody can explain) stands in `pending` until a `Refunded`
line took it back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.ids import DAY_MS
from app.domain.lines import Clicked, Converted, Dismissed, FoldSettings, Returned, Shown, Verdict
from app.rules import windows
from app.rules.invalid_traffic import WHOSE, Limit, improbable_ctr, read_limits
from app.state.clicks import DONE, QUEUED, Clicks

USER, SOURCE, PLACEMENT, PUBLISHER, PERSON_AND_AD = range(5)
IMPRESSION_RULES_FROM = 32  # the numbers of impressions' rules; clicks' begin at 0
MOST_PUBLISHERS = 65_536
PURGE_TICKS = 2_048  # a round through the counters, dropping those that are over
PENDING_DAYS = 7
_STALE_MS = 60_000  # a publisher's counts are aged at most so often
Counted = Shown | Clicked
_NAMES = ("tag", "until_ms", "now", "before")
_PLACED = np.dtype([("place", "<i8"), ("tag", "<u8"), ("until_ms", "<i8"), ("now", "<u2"), ("before", "<u2")])


class Counts(msgspec.Struct, array_like=True):
    """Valid events of a publisher (or of all), aged; `declared` are the clicks that placements promise."""

    shown: float = 0.0
    clicked: float = 0.0
    declared: float = 0.0
    at_ms: int = 0
    judged: bool = False

    def age(self, at_ms: int, half_life_s: int) -> None:
        """Let what was counted fade."""
        if at_ms - self.at_ms >= _STALE_MS:
            share = 0.5 ** ((at_ms - self.at_ms) / (1000.0 * half_life_s))
            self.shown, self.clicked = self.shown * share, self.clicked * share
            self.declared *= share
            self.at_ms = at_ms


class Pending(msgspec.Struct, array_like=True, frozen=True):
    """A click that is to be taken back, and why."""

    code: str
    impression_position: int
    at_ms: int


class Rules:
    """The window rules of one kind of event, laid out for the kernel."""

    def __init__(self, limits: Iterable[tuple[str, int, int, int]], first: int) -> None:
        listed = list(limits)
        self.codes = [code for code, *_ in listed]
        self.whose, self.windows_ms, self.limits = (
            np.array([one[at] for one in listed], dtype=np.int64) for at in (1, 2, 3)
        )
        self.first = first


class Traffic:
    """Judges events. An empty reason is a valid event's; the codes are `app.rules.invalid_traffic`'s.

    `pending` are the clicks to be taken back, by position.
    """

    def __init__(self, clicks: int) -> None:
        self.watches = False  # is anything looked for?
        self.blocks = False  # is what is found neither billed nor learned?
        self.settings = FoldSettings()
        self.clicks = Clicks(clicks)
        self.pending: dict[int, Pending] = {}
        self.marked: list[tuple[bytes, Verdict]] = []  # verdicts to be told of, by the line at hand
        self.suspects: dict[int, tuple[int, str]] = {}  # users, until when, and why
        self.publishers: dict[str, Counts] = {}
        self.everyone = Counts()
        self._whose: NDArray[np.uint64] = np.zeros(5, dtype=np.uint64)
        self._table: windows.Table | None = None
        self._purged = 0

    def configure(self, settings: FoldSettings) -> None:
        """Take new settings. Other limits begin to count anew."""
        old, self.settings = self.settings, settings
        self.watches = settings.invalid_traffic != "off"
        self.blocks = settings.invalid_traffic == "on"
        kept = ("traffic_limits", "traffic_counters", "double_click_s")
        if self.watches and (
            self._table is None or any(getattr(old, name) != getattr(settings, name) for name in kept)
        ):
            places = settings.traffic_counters
            self._table = windows.table(places)
            self._purged = 0
            self._lay_out(read_limits(settings.traffic_limits))

    def _lay_out(self, limits: list[Limit]) -> None:
        double_ms = self.settings.double_click_s * 1000
        again = [("double_click", PERSON_AND_AD, double_ms, windows.AGAIN)] if double_ms else []
        rows = {
            kind: [
                (limit.code, WHOSE.index(limit.whose), limit.seconds * 1000, limit.most)
                for limit in limits
                if limit.kind == kind
            ]
            for kind in ("clicks", "impressions")
        }
        self._click_rules = Rules([*again, *rows["clicks"]], 0)
        self._impression_rules = Rules(rows["impressions"], IMPRESSION_RULES_FROM)

    # Judging.

    def shown(self, line: Shown, user: bytes, now_ms: int, prior_logit: float | None) -> str:
        """Judge an impression by `user`; `prior_logit` is its placement's own prior, where it has one.

        Cost    about 6 us.
        """
        if not self.watches:
            return ""
        if flaw := _flaw(line):
            return flaw
        over, _ = self._count(line, user, self._impression_rules, now_ms)
        found = self.suspects.get(int(self._whose[USER]))
        if found is not None and found[0] > now_ms:
            return found[1]
        if over:
            return self._impression_rules.codes[_lowest(over)]
        declared = 0.0 if prior_logit is None else 1.0 / (1.0 + math.exp(-prior_logit))
        for counts in (self.everyone, self._publisher(line.ad.publisher_id)):
            if counts is not None:
                counts.age(now_ms, self.settings.publisher_ctr_half_life_s)
                counts.shown += 1.0
                counts.declared += declared
        return ""

    def clicked(self, line: Clicked, user: bytes, now_ms: int, shown_ms: int) -> str:
        """Judge a click by `user` whose impression is valid; `shown_ms` is when that was, as of `acted_ms`.

        Cost    about 12 us; when a burst is found some 50 us more, when a publisher is some 200.
        """
        if not self.watches:
            return ""
        if flaw := _flaw(line):
            return flaw
        rules = self._click_rules
        over, crossed = self._count(line, user, rules, now_ms)
        while crossed:
            rule = _lowest(crossed)
            crossed &= crossed - 1
            if rules.limits[rule] != windows.AGAIN:
                whose, window_ms = int(rules.whose[rule]), int(rules.windows_ms[rule])
                self._find_earlier(whose, now_ms - window_ms, rules.codes[rule])
                if whose == USER:
                    self._suspect(int(self._whose[USER]), now_ms + window_ms, rules.codes[rule])
        if _too_soon(acted_ms(line), shown_ms, self.settings.click_soonest_ms):
            return "too_soon"
        if over:
            return rules.codes[_lowest(over)]
        return self._judge_publisher(line.ad.publisher_id, now_ms)

    def noted(self, line: Converted | Dismissed | Returned) -> str:
        """Judge a conversion, a dismissal or a return: by the door's lists alone."""
        return _flaw(line) if self.watches else ""

    def _count(self, line: Counted, user: bytes, rules: Rules, now_ms: int) -> tuple[int, int]:
        ad, whose = line.ad, self._whose
        whose[USER] = _folded(user)
        whose[SOURCE] = int.from_bytes(line.sender.source, "little") if line.sender is not None else 0
        whose[PLACEMENT], whose[PUBLISHER] = _number(ad.placement_id), _number(ad.publisher_id)
        person = whose[USER] or whose[SOURCE]
        whose[PERSON_AND_AD] = int(person) ^ _number(ad.creative_id) if person else 0
        assert self._table is not None
        return windows.count(
            *self._table, whose, rules.whose, rules.windows_ms, rules.limits, rules.first, now_ms
        )  # fmt: skip

    def _publisher(self, publisher_id: str) -> Counts | None:
        """Find a publisher's counts; None when there is no room for one more, who then is not judged."""
        counts = self.publishers.get(publisher_id)
        if counts is None and publisher_id and len(self.publishers) < MOST_PUBLISHERS:
            counts = self.publishers[publisher_id] = Counts(at_ms=self.everyone.at_ms)
        return counts

    def _judge_publisher(self, publisher_id: str, now_ms: int) -> str:
        """Count a click, and say whether its publisher has more of them than anybody can explain."""
        own, all_of, settings = self._publisher(publisher_id), self.everyone, self.settings
        for counts in (all_of, own):
            if counts is not None:
                counts.age(now_ms, settings.publisher_ctr_half_life_s)
                counts.clicked += 1.0
        if own is None or not 0 < settings.publisher_ctr_clicks <= own.clicked or own.shown <= 0:
            return ""
        found = improbable_ctr(
            own.shown, own.clicked, own.declared, all_of.shown - own.shown, all_of.clicked - own.clicked,
            settings.publisher_ctr_factor,
        )  # fmt: skip
        if found and not own.judged:
            self._find_earlier(PUBLISHER, 0, "publisher_ctr", _number(publisher_id))
        own.judged = found
        return "publisher_ctr" if found else ""

    # What is found only later.

    def remember(
        self, line: Clicked, position: int, impression_position: int, now_ms: int, verdict: Verdict
    ) -> None:
        """Remember a click that counted: it may yet turn out to have been one of many."""
        if not self.watches or verdict.code is not None:
            return
        whose = self._whose[:PERSON_AND_AD]  # as they stand since it was judged
        self.clicks.add(position, impression_position, now_ms, line.event_id, whose, verdict)

    def _suspect(self, user: int, until_ms: int, code: str) -> None:
        """Take nothing that a person sees for seen, either, until the burst of clicks is over."""
        self.suspects.pop(user, None)
        self.suspects[user] = until_ms, code

    def _find_earlier(self, whose: int, since_ms: int, code: str, key: int = 0) -> None:
        """Find the earlier clicks of somebody, now that it is known what they were."""
        for row in self.clicks.of(whose, key or int(self._whose[whose]), since_ms):
            row["fate"] = QUEUED if self.blocks else DONE
            if self.blocks:
                position = int(row["position"])
                self.pending[position] = Pending(code, int(row["impression_position"]), int(row["at_ms"]))
            else:
                fate = "learned" if row["learned"] else "skipped"
                verdict = Verdict(fate, int(row["billed_micros"]), int(row["unbilled_micros"]), code)
                self.marked.append((bytes(row["event_id"]), verdict))

    def take_marked(self) -> list[tuple[bytes, Verdict]]:
        """Hand over the verdicts that changed, once."""
        if not self.marked:
            return []
        marked, self.marked = self.marked, []
        return marked

    def taken_back(self, position: int) -> None:
        """Take note that a click was refunded, by whomever."""
        waited = self.pending.pop(position, None)
        if self.watches or waited is not None:
            self.clicks.mark(position, DONE)

    def tick(self, now_ms: int) -> None:
        """Drop counters that are over, a slice at a time, and forget whose the clicks of yesterday were."""
        if self._table is not None:
            step = max(windows.WAYS, len(self._table[0]) // PURGE_TICKS)
            part = slice(self._purged, self._purged + step)
            over = self._table[1][part] <= now_ms
            for array in self._table:
                array[part][over] = 0
            self._purged = (self._purged + step) % len(self._table[0])
        self.clicks.forget_before(now_ms - DAY_MS)
        while self.pending:
            position, oldest = next(iter(self.pending.items()))
            if oldest.at_ms > now_ms - PENDING_DAYS * DAY_MS:
                break
            self.taken_back(position)  # not to be had any more: the journal has been trimmed since
        for user in [user for user, (until_ms, _) in self.suspects.items() if until_ms <= now_ms]:
            del self.suspects[user]
        if len(self.publishers) >= MOST_PUBLISHERS:
            self._drop_quiet(now_ms)

    def _drop_quiet(self, now_ms: int) -> None:
        """Make room: publishers of whom hardly anything is left are strangers again."""
        for publisher_id, counts in list(self.publishers.items()):
            counts.age(now_ms, self.settings.publisher_ctr_half_life_s)
            if counts.shown < 1.0:
                del self.publishers[publisher_id]

    def forget(self, users: Iterable[bytes]) -> None:
        """Forget persons, by their keys."""
        for key in users:
            user = _folded(key)
            self.clicks.forget_user(user)
            self.suspects.pop(user, None)
            if self._table is not None:
                for rules in (self._click_rules, self._impression_rules):
                    for number in range(len(rules.codes)):
                        windows.drop(self._table, user, rules.first + number)

    # Snapshots.

    def _arrays(self) -> list[tuple[str, NDArray[Any]]]:
        return list(zip(_NAMES, self._table, strict=True)) if self._table is not None else []

    def parts(self) -> dict[str, NDArray[Any]]:
        """Copy the counters in use, each with its place, and the clicks, as bytes."""
        used = np.flatnonzero(self._table[0]) if self._table is not None else np.zeros(0, dtype=np.int64)
        table = np.zeros(len(used), dtype=_PLACED)
        table["place"] = used
        for name, array in self._arrays():
            table[name] = array[used]
        return {"counters": table.view(np.uint8), "clicks": self.clicks.parts()}

    def rest(self) -> dict[str, Any]:
        """Copy what is not in arrays."""
        return {
            "pending": list(self.pending.items()), "publishers": list(self.publishers.items()),
            "everyone": self.everyone, "purged": self._purged, "next": self.clicks.next,
            "forgotten": self.clicks.forgotten, "suspects": list(self.suspects.items()),
        }  # fmt: skip

    def restore(self, counters: NDArray[Any], clicks: NDArray[Any], rest: dict[str, Any]) -> None:
        """Take back what `parts` and `rest` copied; the settings are known by now."""
        table = counters.view(_PLACED)
        for name, array in self._arrays():
            array[table["place"]] = table[name]
        self.clicks.restore(clicks, rest["next"], rest["forgotten"])
        self._purged = rest["purged"]
        self.pending = dict(msgspec.convert(rest["pending"], list[tuple[int, Pending]]))
        self.suspects = dict(msgspec.convert(rest["suspects"], list[tuple[int, tuple[int, str]]]))
        self.publishers = dict(msgspec.convert(rest["publishers"], list[tuple[str, Counts]]))
        self.everyone = msgspec.convert(rest["everyone"], Counts)

    def check(self) -> None:
        """Hold the invariants."""
        if self._table is not None:
            tag, until_ms, now, before = self._table
            assert not (until_ms[tag == 0].any() or now[tag == 0].any() or before[tag == 0].any())
        assert not self.marked, "told of with the line that found them"
        assert all(one.clicked >= 0 and one.shown >= 0 for one in self.publishers.values())
        queued = set(self.clicks.with_fate(QUEUED))
        assert not self.blocks or queued.issubset(self.pending), "each is to be taken back"


def acted_ms(line: Counted) -> int:
    """Tell when the act was, as far as that is known: by our clock, as a negative number by the sender's.

    A server may report long after the act: without its own time nothing is known (0).
    """
    if line.sender is not None and line.sender.direct:
        return line.at_ms
    return -max(0, line.sent_at_ms or 0)


def _too_soon(clicked_ms: int, shown_ms: int, soonest_ms: int) -> bool:
    """Compare two times of one clock; of two clocks, or unknown, they say nothing."""
    if clicked_ms == 0 or shown_ms == 0 or (clicked_ms < 0) != (shown_ms < 0):
        return False
    return 0 <= abs(clicked_ms) - abs(shown_ms) < soonest_ms


def _flaw(line: Counted | Converted | Dismissed | Returned) -> str:
    """Tell what the door found: against whoever reports, or against whoever asked for the ad."""
    return (line.sender.flaw if line.sender is not None else "") or line.ad.flaw


def _folded(key: bytes) -> int:
    """Fold a key to 64 bits; nobody's is 0."""
    number = int.from_bytes(key, "little")
    return (number ^ number >> 64) & 0xFFFF_FFFF_FFFF_FFFF


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


@lru_cache(maxsize=65_536)
def _number(name: str) -> int:
    """Hash a name to 64 bits; none has no number."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") if name else 0
