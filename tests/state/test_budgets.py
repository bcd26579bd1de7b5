"""The law of money: billed is the price cut to what the budgets hold, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.decisions import ServedAd
from app.domain.lines import Verdict
from app.state.apply import Receipt
from tests.state.world import DAY_MS, HOUR_MS, WON, World, banner, group, one_of_each

HUNDRED = 100 * WON
EVE_MS = 60_000
Step = tuple[str, int]
numbers = st.integers(0, 9)
KINDS = (
    "show", "click", "cpm", "ocpm", "hold", "settle", "convert", "convert", "refund", "refund", "minute",
    "minute", "hour", "eve", "daily", "total", "group", "pause",
)  # fmt: skip
steps = st.lists(st.tuples(st.sampled_from(KINDS), numbers), min_size=15, max_size=40)


def day_of(at_ms: int) -> int:
    """Number the day in Seoul."""
    return (at_ms + 9 * HOUR_MS) // DAY_MS


class Book:
    """Plain bookkeeping of one campaign with two ad groups: every charge with its day, nothing else."""

    def __init__(self) -> None:
        self.charges: dict[bytes, tuple[int, str, int]] = {}  # by event: day, ad group, micros
        self.daily: int | None = None
        self.total: int | None = None
        self.group_daily: int | None = None  # of g-1

    def spent(self, day: int | None = None, group_id: str | None = None) -> int:
        charges = self.charges.values()
        return sum(m for at, name, m in charges if day in (None, at) and group_id in (None, name))

    def left(self, day: int, group_id: str) -> int:
        """What may still be charged: the least of what is left of every budget."""
        limits = [(self.daily, self.spent(day)), (self.total, self.spent())]
        if group_id == "g-1":
            limits.append((self.group_daily, self.spent(day, group_id)))
        return min([max(0, limit - spent) for limit, spent in limits if limit is not None], default=10**18)


class Till:
    """A world beside a book: does a step in both and compares."""

    def __init__(self) -> None:
        self.world, self.book = World(), Book()
        self.world.add(*one_of_each())
        self.world.add(group("g-2"), banner("cr-2", "g-2"))
        self.shown: list[ServedAd] = []
        self.charges: list[Receipt] = []
        self.status = "active"
        self.conversions: list[ServedAd] = []  # ads sold by conversion, shown and clicked
        self.held: list[tuple[int, ServedAd, Receipt]] = []

    def charged(self, receipt: Receipt, verdict: Verdict, at_ms: int, ad: ServedAd, price: int) -> None:
        group_id = f"g-{ad.creative_id[-1]}"
        billed = min(price, self.book.left(day_of(at_ms), group_id))
        assert (verdict.billed_micros, verdict.unbilled_micros) == (billed, price - billed)
        self.book.charges[receipt.event_id] = (day_of(at_ms), group_id, billed)
        self.charges.append(receipt)

    def verdict(self, receipt: Receipt) -> Verdict:
        verdict = self.world.known[receipt.event_id].verdict
        assert verdict is not None
        return verdict

    def happen(self, what: str, number: int) -> None:
        """An event, at a price of some hundreds."""
        world, price = self.world, HUNDRED * (1 + number)
        creative_id = f"cr-{1 + number % 2}"
        match what:
            case "show":
                self.shown.append(ad := world.ad(creative_id, price))
                world.show(ad)
            case "click" if self.shown:
                ad = self.shown.pop(number % len(self.shown))
                receipt = world.click(ad)
                self.charged(receipt, self.verdict(receipt), world.now_ms, ad, ad.price_micros)
            case "cpm":
                ad = world.ad(creative_id, price * 1000, "cpm")
                receipt = world.show(ad)
                self.charged(receipt, self.verdict(receipt), world.now_ms, ad, price)
            case "ocpm":
                ad = world.ad(creative_id, price * 8, "ocpm", pctr=0.25, pcvr=0.5)
                receipt = world.show(ad)
                self.charged(receipt, self.verdict(receipt), world.now_ms, ad, price)
            case "convert":
                if number % 3 == 0 or not self.conversions:
                    self.conversions.append(world.ad(creative_id, price, "cpa"))
                    world.show(self.conversions[-1])
                    world.click(self.conversions[-1])
                ad = self.conversions[number % len(self.conversions)]
                receipt = world.convert(ad, str(len(world.entries)))
                self.charged(receipt, self.verdict(receipt), world.now_ms, ad, ad.price_micros)
            case "hold":
                ad = world.ad(creative_id, price)
                self.held.append((world.now_ms, ad, world.click(ad)))
            case "settle" if self.held:
                at_ms, ad, receipt = self.held.pop(number % len(self.held))
                world.show(ad)
                self.charged(receipt, self.verdict(receipt), at_ms, ad, ad.price_micros)
            case "refund" if self.charges:
                receipt = self.charges.pop(number % len(self.charges))
                assert world.refund(receipt).billed_micros == self.book.charges.pop(receipt.event_id)[2]
            case _:
                pass

    def pass_time(self, what: str) -> None:
        to_midnight = DAY_MS - (self.world.now_ms + 9 * HOUR_MS) % DAY_MS
        eve = to_midnight - EVE_MS if to_midnight > EVE_MS else 1
        self.world.tick({"minute": 60_000, "hour": HOUR_MS, "eve": eve}.get(what, 1))
        # A click waits for its impression for ten minutes; then it is never billed.
        self.held = [held for held in self.held if held[0] + 600_000 > self.world.now_ms]

    def limit(self, what: str, number: int) -> None:
        amount = None if number == 9 else number * HUNDRED
        match what:
            case "daily":
                self.book.daily = amount
                self.world.change("campaign", "c-1", budget_daily_micros=amount)
            case "total":
                self.book.total = amount and amount * 4
                self.world.change("campaign", "c-1", budget_total_micros=self.book.total)
            case "group" if self.status != "archived":
                self.book.group_daily = amount
                self.world.change("ad_group", "g-1", budget_daily_micros=amount)
            case "pause":  # what was shown is paid for all the same
                self.status = "active" if number < 7 else "archived" if number == 9 else "paused"
                self.world.change("campaign", "c-1", status=self.status)
            case _:
                pass

    def compare(self) -> None:
        assert self.world.spent() == self.book.spent()
        assert self.world.spent_by_group("g-1") == self.book.spent(None, "g-1")
        for name in ("g-1", "g-2"):
            out = self.book.left(day_of(self.world.now_ms), name) == 0
            at = self.world.state.catalogue.group_index[name]
            assert (self.world.state.group_standing[at] != 0) == (out or self.status != "active"), name


@settings(max_examples=150)
@given(steps)
def test_billed_is_always_the_price_cut_to_what_the_budgets_hold(todo: list[Step]) -> None:
    till = Till()
    till.pass_time("eve")
    for what, number in todo:
        till.happen(what, number)
        till.pass_time(what)
        till.limit(what, number)
        till.compare()
