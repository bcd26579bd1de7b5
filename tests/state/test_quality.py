"""Quality in the fold: who complains, about what, and what the auction makes of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.domain import ids
from app.domain.decisions import ServedAd
from app.domain.lines import (
    ACCIDENTAL,
    Clicked,
    Dismissed,
    Erased,
    FoldSettings,
    Refunded,
    Sender,
    Shown,
    key_of,
)
from app.domain.requests import AdRequest, Person
from app.state import saving
from app.state.apply import Receipt
from tests.state.world import WON, World, ask_for, banner, contents, group, one_of_each, placement

ANNA, BORA = b"anna-key-012", b"bora-key-012"


def start(**settings: Any) -> World:
    """Two CPC ads of two groups at one bid, and a third of another advertiser far below."""
    world = World(FoldSettings(**settings))
    world.add(*one_of_each(), group("g-2"), banner("cr-2", "g-2"))
    return world


def dismiss(world: World, ad: ServedAd, reason: str | None = None) -> Receipt:
    receipt = world.put(Dismissed(at_ms=world.now_ms, ad=ad, reason=reason)).receipt
    assert receipt is not None
    return receipt


def shown_to(world: World, creative_id: str, user: bytes = b"", former: bytes = b"") -> ServedAd:
    ad = msgspec.structs.replace(world.ad(creative_id), user=user, former_user=former)
    world.show(ad)
    return ad


def click_itself(world: World, ad: ServedAd, after_ms: int) -> Receipt:
    """Click as a device reports it, so long after the impression."""
    line = Clicked(at_ms=world.now_ms + after_ms, ad=ad, sender=Sender(direct=True))
    receipt = world.put(line).receipt
    assert receipt is not None
    return receipt


def quality(world: World, creative_id: str) -> float:
    ads = world.state.catalogue.ads
    return float(ads.quality[ads.places.by_key[creative_id]])


def of(user: bytes, former: bytes | None = None) -> AdRequest:
    return msgspec.structs.replace(ask_for("plc-1"), person=Person(key=user, former_key=former))


def test_complaints_lower_the_index_at_the_next_tick_and_move_the_auction() -> None:
    world = start()
    for _ in range(30):
        dismiss(world, shown_to(world, "cr-1"), "offensive")
        shown_to(world, "cr-2")
    assert quality(world, "cr-1") == 1.0, "between ticks nothing moves"
    world.tick()
    assert quality(world, "cr-1") < 0.8
    assert quality(world, "cr-2") > 1.2
    (placed,) = world.choose().placed
    (win,) = placed.wins
    assert win.creative_id == "cr-2"
    rival = quality(world, "cr-1") / quality(world, "cr-2")
    assert win.price_micros == pytest.approx(2_000 * WON * rival, rel=0.2), "the better ad pays less"
    told = world.state.quality.of("cr-1")
    assert told is not None
    assert told["own"] == {"impressions": 30, "complaints": 90, "clicks": 0, "accidental_clicks": 0}
    assert told["dismissals"] == {"offensive": 30}


def test_a_complaint_counts_only_with_a_counted_impression() -> None:
    world = start()
    dismiss(world, world.ad("cr-1"))
    taken_back = world.ad("cr-1")
    world.refund(world.show(taken_back))
    dismiss(world, taken_back)
    assert not world.state.quality.counts[1].any()


def complaints(world: World) -> int:
    return int(world.state.quality.counts[1].sum())


def test_a_complaint_waits_for_its_impression() -> None:
    """Over another road it may well come first: it keeps the ad away at once, and counts when that counts."""
    world = start()
    ad = msgspec.structs.replace(world.ad("cr-1"), user=ANNA)
    dismiss(world, ad, "offensive")
    assert "dismissed" in world.reasons(of(ANNA))
    assert complaints(world) == 0
    world.tick(599_000)
    world.show(ad)
    told = world.state.quality.of("cr-1")
    assert told is not None
    assert (told["own"]["complaints"], told["dismissals"]) == (3, {"offensive": 1})
    assert not world.state.complaints
    world.show(world.ad("cr-1"))
    assert complaints(world) == 3, "one impression, one complaint"


#   what becomes of the impression                                    why
NEVER: list[tuple[Any, str]] = [
    (lambda world, ad: None,                                          "it never came"),
    (lambda world, ad: (world.tick(601_000), world.show(ad)),           "it came too late"),
    (lambda world, ad: world.put(Shown(at_ms=world.now_ms, ad=ad, sender=Sender("bot"))), "nobody saw it"),
]  # fmt: skip


@pytest.mark.parametrize(("come", "why"), NEVER)
def test_a_complaint_without_a_counted_impression_speaks_against_nothing(come: Any, why: str) -> None:
    world = start(invalid_traffic="on")
    ad = world.ad("cr-1")
    dismiss(world, ad, "offensive")
    come(world, ad)
    world.tick(601_000)
    assert complaints(world) == 0, why
    assert not world.state.complaints, why


def test_an_early_complaint_and_an_early_click_wait_together() -> None:
    """An accidental click takes its impression out of the model; it was seen all the same."""
    world = start()
    ad = world.ad("cr-1")
    dismiss(world, ad)
    assert world.click(ad).status == "held"
    world.show(ad)
    assert (complaints(world), int(world.state.quality.counts[2].sum())) == (1, 1)


def test_waiting_complaints_are_part_of_a_snapshot() -> None:
    world = start()
    ad = msgspec.structs.replace(world.ad("cr-1"), user=ANNA)
    dismiss(world, ad, "misleading")
    (key,) = world.state.complaints
    again = type(world.state)(world.columns, recent=world.recent)
    saving.restore(again, world.state.position, saving.parts(world.state))
    assert again.complaints == world.state.complaints == {key: world.state.complaints[key]}
    assert ANNA not in msgspec.msgpack.encode(list(again.complaints.items())), "nothing of who said it"
    before = world.state.hash
    world.show(ad)
    assert world.state.hash != before


def test_without_complaints_the_index_stays_one_whatever_is_shown_and_clicked() -> None:
    world = start()
    for _ in range(20):
        world.click(shown_to(world, "cr-1"))
    world.tick()
    assert quality(world, "cr-1") == quality(world, "cr-2") == 1.0


def test_strength_nought_switches_it_off() -> None:
    world = start(quality_strength=0.0)
    for _ in range(30):
        dismiss(world, shown_to(world, "cr-1"))
        shown_to(world, "cr-2")
    world.tick()
    assert quality(world, "cr-1") == 1.0


def test_a_click_too_soon_is_neither_billed_nor_learned_and_speaks_against_the_ad() -> None:
    world = start(accidental_click_ms=300)
    soon, late, of_server = (shown_to(world, "cr-1") for _ in range(3))
    before = world.p(soon)
    receipt = click_itself(world, soon, 299)
    assert (receipt.status, receipt.billed_micros, receipt.learned) == ("counted", 0, False)
    assert receipt.code == ACCIDENTAL
    assert world.p(soon) > before, "the impression goes with it"
    assert click_itself(world, late, 300).billed_micros == 1_000 * WON
    assert world.click(of_server, at_ms=world.now_ms + 1).billed_micros == 1_000 * WON, "times of a batch"
    told = world.state.quality.of("cr-1")
    assert told is not None
    assert (told["own"]["clicks"], told["own"]["accidental_clicks"]) == (3, 1)


def test_an_accidental_click_is_refunded_and_unlearned() -> None:
    world = start()
    ad = world.ad("cr-1")
    before = world.p(ad)
    world.show(ad)
    click = world.click(ad)
    line = world.entries[click.position - 1].line
    assert isinstance(line, Clicked)
    taken = world.put(
        Refunded(
            at_ms=world.now_ms, target_id=click.event_id, target_position=click.position, target=line,
            reason=ACCIDENTAL,
            impression_position=world.known[ids.event_id(key_of(ad), "impression")].position,
        )
    )  # fmt: skip
    assert taken.receipt is not None
    assert (taken.receipt.billed_micros, taken.receipt.learned) == (1_000 * WON, True)
    assert world.spent() == 0
    assert world.p(ad) == pytest.approx(before)
    verdict = world.known[click.event_id].verdict
    assert verdict is not None
    assert (verdict.fate, verdict.code) == ("refunded", ACCIDENTAL)
    dismiss(world, ad, "covers_content")
    told = world.state.quality.of("cr-1")
    assert told is not None
    assert (told["own"]["clicks"], told["own"]["accidental_clicks"]) == (1, 1)
    assert told["own"]["complaints"] == 2, "the impression was seen, though it teaches nothing any more"


def test_a_place_given_to_another_ad_begins_anew() -> None:
    world = start(column_rest_s=60)
    for _ in range(30):
        dismiss(world, shown_to(world, "cr-1", ANNA))
        shown_to(world, "cr-2")
    place = world.state.catalogue.ads.places.by_key["cr-1"]
    world.change("creative", "cr-1", status="archived")
    world.tick(61_000)
    world.tick()
    world.add(banner("cr-3", "g-2"))
    assert world.state.catalogue.ads.places.by_key["cr-3"] == place
    assert quality(world, "cr-3") == 1.0
    world.change("creative", "cr-2", status="paused")
    assert world.winner(of(ANNA)) == "cr-3", "nobody dismissed the new one"


#   reason            stays away
REACH = [
    (None,             {"cr-1"},         ),
    ("repetitive",     {"cr-1"},         ),
    ("who knows",      {"cr-1"},         ),
    ("misleading",     {"cr-1", "cr-2"}, ),
    ("advertiser",     {"cr-1", "cr-2"}, ),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "gone"), REACH)
def test_what_a_user_dismissed_stays_away_from_that_user_alone(reason: str | None, gone: set[str]) -> None:
    world = start(dismissal_s=3_600)
    dismiss(world, msgspec.structs.replace(world.ad("cr-1"), user=ANNA), reason)
    (placed,) = world.choose(of(ANNA)).placed
    assert placed.reasons.get("dismissed") == len(gone)
    assert not gone & {win.creative_id for win in placed.wins}
    for others in (of(BORA), ask_for("plc-1"), msgspec.structs.replace(of(ANNA), person=None)):
        assert "dismissed" not in world.reasons(others)
    world.tick(3_500_000)
    assert "dismissed" in world.reasons(of(ANNA))
    world.tick(200_000)
    assert "dismissed" not in world.reasons(of(ANNA))
    assert not world.state.dismissals.by_user


def test_it_stays_away_under_the_next_period_s_key() -> None:
    world = start()
    dismiss(world, msgspec.structs.replace(world.ad("cr-1"), user=ANNA))
    assert world.reasons(of(BORA, ANNA)).get("dismissed") == 1, "in the overlap either key will do"
    shown_to(world, "cr-2", user=BORA, former=ANNA)
    assert world.reasons(of(BORA)).get("dismissed") == 1, "moved over at first sight"
    assert "dismissed" not in world.reasons(of(ANNA))


def test_nothing_is_left_of_who_is_erased_but_the_complaint() -> None:
    world = start()
    ad = shown_to(world, "cr-1", ANNA)
    dismiss(world, ad)
    late = shown_to(world, "cr-2", ANNA)
    world.tick()
    world.put(Erased(at_ms=world.now_ms, users=(ANNA,)))
    dismiss(world, late)
    assert "dismissed" not in world.reasons(of(ANNA))
    assert not any(
        ANNA in part.tobytes() for part in (world.state.dismissals.ring, world.state.dismissals.parts())
    )
    assert int(world.state.quality.counts[1].sum()) == 2, "what was said of the ads stays, by nobody"


def test_a_dismissal_binds_every_slot_of_every_placement() -> None:
    world = start()
    world.add(placement("plc-2"))
    dismiss(world, msgspec.structs.replace(world.ad("cr-1"), user=ANNA))
    request = msgspec.structs.replace(ask_for("plc-1", "plc-2", count=2), person=Person(key=ANNA))
    for placed in world.choose(request).placed:
        assert "cr-1" not in {win.creative_id for win in placed.wins}
        assert placed.reasons["dismissed"] == 1


def test_a_snapshot_holds_both() -> None:
    world = start()
    for number in range(12):
        dismiss(
            world,
            shown_to(world, f"cr-{1 + number % 2}", bytes([number]) * 12),
            ("other", "offensive")[number % 2],
        )
    world.tick()
    for _ in range(3):
        dismiss(world, shown_to(world, "cr-1", ANNA))
    again = world.copy()
    assert contents(again.state) == contents(world.state)
    again.state.check()
    key = world.key()
    for request in (of(ANNA), of(bytes(12)), of(bytes([1]) * 12)):
        assert again.choose(request, key) == world.choose(request, key)
