"""Each campaign's plan and throttle, worked out at ticks alone: a function of state and clock.

What full participation would bring is learned from what the campaign's own answers put in flight, which is
known at once and far less lumpy than clicks; what of that is billed in the end is learned beside it. The
arithmetic is in `app.rules.pacing`; here are the counters it needs, and the plan as it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from app.rules import pacing
from app.rules.pacing import (
    MEMORY_S,
    MEMORY_WINS,
    PRIOR_CHARGES,
    RATE_BOUNDS,
    RATIO_BOUNDS,
    RATIO_MEMORY_CHARGES,
)
from app.rules.standing import Moment, moment_at
from app.state.catalogue import Catalogue
from app.state.supply import LONGEST_TICK_S, Supply
from app.state.terms import Terms, campaigns_of, terms_of

RATIO_MEMORY_S = 3_600.0
FIELDS = (
    "throttle", "exposures", "served", "wins", "billed", "answered", "spent_seen", "open", "day",
    "daily", "total", "plan_from_ms", "plan_spent", "plan_rest", "plan_weight", "hour", "hour_spent",
    "hour_plan", "hour_held", "hour_s", "dawn",
)  # fmt: skip


class Plan(Struct, frozen=True, kw_only=True):
    """One campaign's plan as it stands. Units: micros; rates per second; None where it has no such thing.

    `planned` is the day's spend due by now, by the plan last laid (at midnight, at an edit of its budget, at
    its launch, after an outage); `aim` the rate aimed at; `full` what full participation would bring.
    """

    throttle: float
    spent_today: int
    in_flight: int
    allowance: float | None
    planned: float | None
    hour_planned: float | None
    hour_spent: float | None
    aim: float | None
    full: float | None
    billed_ratio: float
    day_end: float | None


class Pacing:
    """Counters and plans by campaign: a table with a line for each of FIELDS."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.table = np.zeros((len(FIELDS), 64))
        self.table[0] = 1.0
        self.count = 0
        self._known: Terms | None = None
        self._shaped: tuple[int, int, NDArray[np.float64]] | None = None
        self.error = 0.0  # of the last tick, for people; not part of what is known
        self.deals = 0  # how often the sets were dealt; a clock that stands still must not stop it

    def of(self, field: str) -> NDArray[np.float64]:
        """Give a field of all campaigns, (count,), to read or write."""
        return self.table[FIELDS.index(field), : self.count]

    # What a tick brings.

    def observe(
        self, requests: int, served: Iterable[tuple[str, int]], wins: Iterable[tuple[str, int]],
        elapsed_ms: int, standing: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Take in what was answered since the last tick, under the throttles of then."""
        self._make_room()
        catalogue, n = self.catalogue, self.count
        stood = campaigns_of(catalogue, np.flatnonzero(standing == 0), n)
        share = catalogue.ads.participation.shares(n) / float(pacing.SETS)
        self.of("exposures")[:] += np.where(stood, share * requests, 0.0)
        value, number = np.zeros(n), np.zeros(n)
        for totals, pairs in ((value, served), (number, wins)):
            for group_id, amount in pairs:
                totals[catalogue.group_campaign[catalogue.group_index[group_id]]] += amount
        self.of("served")[:] += value
        self.of("wins")[:] += number
        spent = catalogue.campaign_accounts.spent[:n].astype(np.float64)
        self.of("billed")[:] += np.maximum(spent - self.of("spent_seen"), 0.0)  # a refund says nothing of ads
        self.of("spent_seen")[:] = spent
        self.of("answered")[:] += value
        self._forget(min(elapsed_ms / 1000, LONGEST_TICK_S))

    def _forget(self, elapsed_s: float) -> None:
        """Let old observations fade: the last ten minutes count, and where they hold few wins, more."""
        slow, fast = math.exp(-elapsed_s / MEMORY_S[1]), math.exp(-elapsed_s / MEMORY_S[0])
        keep = np.where(self.of("wins") > MEMORY_WINS, fast, slow)
        for field in ("exposures", "served", "wins"):
            self.of(field)[:] *= keep
        many = self.of("answered") > RATIO_MEMORY_CHARGES * self.terms().charge
        keep = np.where(many, math.exp(-elapsed_s / RATIO_MEMORY_S), 1.0)
        self.of("billed")[:] *= keep
        self.of("answered")[:] *= keep

    def replan(
        self, at_ms: int, moments: list[Moment], supply: Supply, *, gap: bool, standing: NDArray[np.uint8]
    ) -> None:
        """Lay every campaign's plan anew and deal its ads to the sets.

        Cost    1,000 campaigns: ~0.3 ms, a tick.
        """
        self._make_room()
        n = self.count
        if not n:
            return
        look = self._look(at_ms, moments, supply, standing)
        self._note_plans(look, at_ms, gap=gap)
        self.of("throttle")[:] = look.throttle
        self.error = self._error(look)
        self.deals += 1
        self.deal()

    def _error(self, look: _Look) -> float:
        """Tell how far spend is off this hour's plans, all together, as a share of what is due."""
        paced = np.isfinite(look.aim) & np.isfinite(self.of("hour_plan"))
        committed = look.spent + look.awaited
        off = self._hour_error(committed, look.here_s, look.hour)
        spent = committed - self.of("hour_spent") - self.of("hour_held")
        return pacing.off_plan(off[paced], spent[paced], look.throttle[paced])

    def deal(self) -> None:
        """Deal the ads to the sets by the throttles; after a restore as before it."""
        ads = self.catalogue.ads
        share = pacing.shares(self.of("throttle"), self.deals)
        ads.participation.deal(ads.campaign[: ads.count], share, pacing.turns(self.count, self.deals))

    def _note_plans(self, look: _Look, at_ms: int, *, gap: bool) -> None:
        """Keep the plan of the day and of the hour where they begin, or begin again."""
        accounts, n = self.catalogue.campaign_accounts, self.count
        daily, total = (field[:n].astype(np.float64) for field in (accounts.daily, accounts.total))
        anew = (self.of("day") != look.day) | (self.of("daily") != daily) | (self.of("total") != total)
        anew |= ((look.stands > 0) & (self.of("open") == 0)) | gap | (self.of("plan_weight") <= 0)
        for field, values in (
            ("plan_from_ms", float(at_ms)), ("plan_spent", look.spent), ("plan_rest", look.rest),
            ("plan_weight", look.weight),
        ):  # fmt: skip
            self.of(field)[:] = np.where(anew, values, self.of(field))
        new_hour = anew | (self.of("hour") != look.hour)
        self.of("hour_spent")[:] = np.where(new_hour, look.spent, self.of("hour_spent"))
        self.of("hour_held")[:] = np.where(new_hour, look.awaited, self.of("hour_held"))
        part = look.now * look.here_s / np.maximum(look.weight, 1e-9)
        self.of("hour_plan")[:] = np.where(new_hour, np.maximum(look.rest, 0.0) * part, self.of("hour_plan"))
        self.of("hour_s")[:] = np.where(new_hour, look.here_s, self.of("hour_s"))
        for field, values in (
            ("day", look.day), ("daily", daily), ("total", total), ("hour", look.hour), ("open", look.stands),
            ("dawn", look.dawn),
        ):  # fmt: skip
            self.of(field)[:] = values

    def _look(self, at_ms: int, moments: list[Moment], supply: Supply, standing: NDArray[np.uint8]) -> _Look:
        """Work out plan and throttle of every campaign for a time."""
        catalogue, n = self.catalogue, self.count
        terms = self.terms()
        zone = terms.zone
        day = np.array([moment.day for moment in moments], dtype=np.int64)[zone]
        weight, now, here_s, later, hour = (np.zeros(n) for _ in range(5))
        shapes = self.shapes(supply)
        for each in np.unique(zone):
            mine = np.flatnonzero(zone == each)
            segments = pacing.day_segments(catalogue.zones[each], catalogue.zones[0], int(moments[each].day))
            weight[mine], now[mine], here_s[mine], later[mine], hour[mine] = pacing.weights(
                segments, shapes[terms.shape[mine]], at_ms, terms.hours[mine], terms.weekdays[mine],
                terms.starts_ms[mine], terms.ends_ms[mine],
            )  # fmt: skip
        accounts = catalogue.campaign_accounts
        spent = accounts.spent_each(day).astype(np.float64)
        ratio = self.ratio()
        awaited, in_flight = accounts.awaited[:n] * ratio, accounts.in_flight[:n] * ratio
        dawn = np.where(self.of("day") == day, self.of("dawn"), awaited)
        # Clicks of today that convert tomorrow are as good as spent: those of yesterday made up for them.
        held = in_flight + np.maximum(accounts.awaited_today() * ratio, awaited - dawn)
        rest = self._rest(spent, held, in_flight + awaited, weight, later)
        allowance = rest + spent + held
        paced = catalogue.campaign_even[:n] & np.isfinite(rest) & (weight > 0) & (now > 0)
        even = np.where(paced, np.maximum(rest, 0.0), 0.0) * now / np.maximum(weight, 1e-9)
        aim = np.where(paced, pacing.corrected(even, self._hour_error(spent + awaited, here_s, hour)), np.nan)
        rate = self._rate(supply, moments[0])
        answers = self.worth() * rate
        full = answers * ratio
        guess = terms.answer * (1.0 + self.of("exposures")) * rate
        first = np.where(guess > 0, guess, np.nan)
        throttle = np.where(paced, pacing.throttles(np.where(paced, aim, 0.0), full, first), 1.0)
        answers = np.where(np.isnan(answers), first, answers)
        throttle = np.minimum(throttle, pacing.last_share(self._unheld(spent), answers))
        stands = campaigns_of(catalogue, np.flatnonzero(standing == 0), n).astype(np.float64)
        return _Look(
            day=day.astype(np.float64), spent=spent, held=held, awaited=awaited, dawn=dawn,
            rest=np.where(paced, rest, np.nan), allowance=allowance, weight=weight, here_s=here_s, now=now,
            hour=hour, aim=aim, full=full, throttle=throttle, stands=stands,
        )  # fmt: skip

    def _rest(
        self, spent: NDArray[np.float64], held: NDArray[np.float64], to_come: NDArray[np.float64],
        weight: NDArray[np.float64], later: NDArray[np.float64],
    ) -> NDArray[np.float64]:  # fmt: skip
        """Say what each campaign may still spend today; inf without a limit.

        What is in flight counts: `held` against today, `to_come` ever.

        A total budget is spread to the flight's end; without an end there is nothing to spread it over.
        """
        terms = self.terms()
        flight = terms.total - self.catalogue.campaign_accounts.spent[: self.count] - to_come
        with np.errstate(invalid="ignore", divide="ignore"):
            part = np.where(weight + later > 0, weight / (weight + later), 1.0)
            from_total = np.where(terms.ends_ms < 2**62, flight * part, np.inf)
        return np.minimum(terms.daily - spent - held, from_total)

    def _unheld(self, spent: NDArray[np.float64]) -> NDArray[np.float64]:
        """Say what of each campaign's budgets is neither spent nor held; inf without a limit."""
        accounts, terms = self.catalogue.campaign_accounts, self.terms()
        in_flight, n = accounts.in_flight[: self.count], self.count
        today = terms.daily - spent - in_flight - accounts.awaited_today()
        ever = terms.total - accounts.spent[:n] - in_flight - accounts.awaited[:n]
        return np.minimum(today, ever)

    def _hour_error(
        self, committed: NDArray[np.float64], here_s: NDArray[np.float64], hour: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Say how much of this hour's plan is due and not committed; 0 where the hour has no plan yet.

        Committed is what was billed, and what clicks that may convert will bring. What is in flight is left
        out: seconds of an hour, as much at its end as at its beginning.
        """
        gone = 1.0 - np.minimum(1.0, here_s / np.maximum(self.of("hour_s"), 1e-9))
        due = self.of("hour_spent") + self.of("hour_held") + self.of("hour_plan") * gone
        told = (self.of("hour") == hour) & np.isfinite(due) & (self.of("day") > 0)
        return np.where(told, due - committed, 0.0)

    def _rate(self, supply: Supply, moment: Moment) -> float:
        """Requests per second to count with: those just now, unless they are far off the forecast."""
        expected = float(supply.profile[moment.weekday * 24 + moment.hour])
        if expected <= 0:
            return supply.rate
        return min(max(supply.rate, RATE_BOUNDS[0] * expected), RATE_BOUNDS[1] * expected)

    def worth(self) -> NDArray[np.float64]:
        """What a request taken part in puts in flight, in micros; nan where no win was seen yet."""
        seen = (self.of("wins") > 0.5) & (self.of("exposures") > 0)
        safe = np.where(seen, self.of("exposures"), 1.0)
        return np.where(seen, self.of("served") / safe, np.nan)

    def ratio(self) -> NDArray[np.float64]:
        """What of an answer's value is billed in the end: impressions lost, clicks mispredicted."""
        prior = PRIOR_CHARGES * self.terms().charge
        due = np.maximum(self.of("answered") - self._to_come(), 0.0)
        found = (self.of("billed") + prior) / np.maximum(due + prior, 1e-9)
        return np.clip(np.where(prior > 0, found, 1.0), *RATIO_BOUNDS)

    def _to_come(self) -> NDArray[np.int64]:
        """What was answered and may yet be charged, in micros: in flight, and clicks that may convert."""
        accounts = self.catalogue.campaign_accounts
        return accounts.in_flight[: self.count] + accounts.awaited[: self.count]

    def terms(self) -> Terms:
        """Tell what the catalogue says of every campaign now."""
        known = self._known
        if known is None or known.changes != self.catalogue.changes or len(known.zone) != self.count:
            known = self._known = terms_of(self.catalogue, self.count)
        return known

    def shapes(self, supply: Supply) -> NDArray[np.float64]:
        """Give the shape of the week's traffic for every set of placements that campaigns name.

        Shape   (sets, 168), each of mean 1; worked out when an hour was closed or the catalogue changed.
        """
        terms = self.terms()
        if self._shaped is None or self._shaped[:2] != (supply.closed, terms.changes):
            found = np.stack([supply.shape(places) for places in terms.places])
            self._shaped = (supply.closed, terms.changes, found)
        return self._shaped[2]

    # What people ask.

    def plan_of(self, at: int, at_ms: int, supply: Supply, standing: NDArray[np.uint8]) -> Plan:
        """Tell one campaign's plan at a time, as the tick would lay it."""
        return self.plans_of([at], at_ms, supply, standing)[0]

    def plans_of(
        self, ats: Iterable[int], at_ms: int, supply: Supply, standing: NDArray[np.uint8]
    ) -> list[Plan]:
        """Tell several campaigns' plans at a time, at the cost of looking once."""
        self._make_room()
        moments = [moment_at(zone, at_ms) for zone in self.catalogue.zones]
        look = self._look(at_ms, moments, supply, standing)
        return [self._plan(at, look) for at in ats]

    def _plan(self, at: int, look: _Look) -> Plan:
        paced = math.isfinite(look.aim[at])
        limited = math.isfinite(look.allowance[at])
        full = float(look.full[at])
        planned = None
        if paced and self.of("plan_weight")[at] > 0:
            gone = 1.0 - min(1.0, look.weight[at] / self.of("plan_weight")[at])
            planned = float(self.of("plan_spent")[at] + self.of("plan_rest")[at] * gone)
        committed = float(look.spent[at] + look.held[at])
        day_end = None
        if limited and not math.isnan(full):
            to_come = full * self._weight_ahead(look, at)
            day_end = min(committed + to_come, max(float(look.allowance[at]), committed))
        return Plan(
            throttle=float(self.of("throttle")[at]), spent_today=int(look.spent[at]),
            in_flight=int(self._to_come()[at]), allowance=float(look.allowance[at]) if limited else None,
            planned=planned, hour_planned=_maybe(self.of("hour_plan")[at]),
            hour_spent=float(look.spent[at] - self.of("hour_spent")[at]) if paced else None,
            aim=_maybe(look.aim[at]), full=_maybe(full),
            billed_ratio=float(self.ratio()[at]), day_end=day_end,
        )  # fmt: skip

    def _weight_ahead(self, look: _Look, at: int) -> float:
        """Turn the weight still to come today into seconds at the present rate."""
        aim, rest = look.aim[at], look.rest[at]
        if not math.isfinite(aim) or aim <= 0:
            return 0.0
        return float(rest / aim)

    # Snapshots.

    def _make_room(self) -> None:
        self.count = self.catalogue.campaign_accounts.count
        while self.count > self.table.shape[1]:
            fresh = np.zeros_like(self.table)
            fresh[0] = 1.0
            self.table = np.concatenate([self.table, fresh], axis=1)

    def parts(self) -> NDArray[np.float64]:
        """Copy the table; the last line tells how often the sets were dealt."""
        self._make_room()
        return np.concatenate([self.table[:, : self.count], np.full((1, self.count), float(self.deals))])

    def restore(self, part: NDArray[Any], missing: int = 0) -> None:
        """Take back what `parts` copied, and deal the ads as they were.

        An earlier fold had none of the last `missing` fields.
        """
        self._make_room()
        self.table[: len(FIELDS) - missing, : self.count] = part[:-1]
        self.deals = int(part[-1, 0]) if self.count else 0
        if self.deals:
            self.deal()

    def check(self) -> None:
        """Throttles are within 0 and 1, and nothing observed is negative."""
        self._make_room()
        assert ((self.of("throttle") >= 0) & (self.of("throttle") <= 1)).all()
        for field in ("exposures", "served", "wins", "billed", "answered"):
            assert (self.of(field) >= 0).all(), field


class _Look(Struct, frozen=True, kw_only=True):
    """Every campaign at one time; (count,) each. Units: micros, weights of any unit."""

    day: NDArray[np.float64]
    spent: NDArray[np.float64]
    held: NDArray[np.float64]
    awaited: NDArray[np.float64]
    dawn: NDArray[np.float64]
    rest: NDArray[np.float64]
    allowance: NDArray[np.float64]
    weight: NDArray[np.float64]
    now: NDArray[np.float64]
    here_s: NDArray[np.float64]
    hour: NDArray[np.float64]
    aim: NDArray[np.float64]
    full: NDArray[np.float64]
    throttle: NDArray[np.float64]
    stands: NDArray[np.float64]


def _maybe(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
