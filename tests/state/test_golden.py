"""The same recorded lines come to the same state in every build that calls itself the same fold.

`golden/lines.z` holds stories as the builds of their time wrote them, and is never written anew: so it also
proves that old lines stay readable. `golden/state.json` holds what they fold to: a digest of each part. Where
that changes, snapshots of the build before mean something else:

    python -m tests.state.test_golden      raises STATE_VERSION (app/state/version.py) and writes it anew

A part of the state that no story touches wants a story of its own, behind the others in `STORIES`; the same
command records what is not recorded yet.

Numbers with a fraction are held to six digits: processors differ in the last bits of a logarithm.
"""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import (
    AdGroup,
    Audience,
    Campaign,
    Experiment,
    Learning,
    Lookalike,
    Pricing,
    Targeting,
    Variant,
)
from app.domain.keys import ApiKey
from app.domain.lines import (
    Clustered,
    Entry,
    Erased,
    FoldSettings,
    Keyed,
    Likened,
    Listed,
    Lost,
    Profiled,
    Ticked,
)
from app.domain.people import Profile
from app.rules.projection_plain import DIMENSIONS, PROJECTION, admission_hash
from app.state import saving, version
from app.state.apply import apply
from app.state.clicks import CLICK
from app.state.conversions import CONVERTED
from app.state.delays import OPEN
from app.state.dismissals import RECORD
from app.state.recent import SHOWN
from app.state.state import State
from app.state.traffic import _PLACED
from tests.state.test_determinism import SMALL_REST, STEPS, WATCHED, Life
from tests.state.world import COLUMNS, DAY_MS, WON, World, banner

HERE = Path(__file__).parent / "golden"
LINES, STATES = HERE / "lines.z", HERE / "state.json"
VERSION = Path(version.__file__)
RECENT = 8
RECORDS = {
    "recent": SHOWN, "conversions": CONVERTED, "dismissals": RECORD, "traffic_clicks": CLICK,
    "traffic_counters": _PLACED, "delays_clicks": OPEN,
}  # fmt: skip
Golden = dict[str, Any]


def test_recorded_lines_fold_to_what_the_state_version_promises() -> None:
    golden: Golden = json.loads(STATES.read_text())
    found = digests()
    changed = sorted(
        name for name in {*golden["parts"], *found} if golden["parts"].get(name) != found.get(name)
    )
    advice = "python -m tests.state.test_golden raises STATE_VERSION and writes the golden state anew"
    assert not changed, f"the fold changed in {', '.join(changed)}; if it was meant: {advice}"
    assert golden["state_version"] == version.STATE_VERSION
    assert 0 < version.RESTORED_FROM <= version.STATE_VERSION


def test_the_story_is_worth_telling() -> None:
    """Else the digests would prove little: every kind of line, and something in every part of a state."""
    kinds = {type(entry.line).__name__ for story in stories() for entry in story}
    assert kinds == {
        "Catalogued", "Clicked", "Clustered", "Configured", "Converted", "Dismissed", "Erased", "Keyed",
        "Likened", "Listed", "Lost", "Noticed", "Profiled", "Refunded", "Returned", "Shown", "Ticked",
    }  # fmt: skip
    kept = [saving.parts(folded(story)) for story in stories()]
    sizes = {name: max(len(bytes(parts[name])) for parts in kept) for name in kept[0]}
    assert [name for name, size in sizes.items() if not size] == []


def test_a_digest_forgives_the_last_bits_and_nothing_else() -> None:
    one = np.array([0.1, -3.0, np.nan, 0.0, 1e-9])
    assert np.array_equal(rounded(one), rounded(one * (1 + 1e-13) + 0.0))
    assert not np.array_equal(rounded(one), rounded(one * (1 + 1e-5)))


# How it is made.


def stories() -> list[list[Entry]]:
    """Read the recorded lines: some stories, each from position 1."""
    return msgspec.msgpack.decode(zlib.decompress(LINES.read_bytes()), type=list[list[Entry]])


def folded(story: list[Entry]) -> State:
    state = State(columns=COLUMNS, recent=RECENT)
    for entry in story:
        apply(state, entry)
    state.check()
    return state


def digests() -> dict[str, str]:
    """Digest each part of what each story folds to."""
    found = {}
    for number, story in enumerate(stories()):
        for name, part in saving.parts(folded(story)).items():
            digest = blake2b(digest_size=8)
            _add(digest, _plain(name, part))
            found[f"{number}.{name}"] = digest.hexdigest()
    return found


def _plain(name: str, part: NDArray[Any] | bytes) -> Any:
    if name == "rest":
        rest = msgspec.msgpack.decode(bytes(part))
        del rest["hash"]  # of all bits, also the last ones
        return rest
    if isinstance(part, bytes):
        return part
    if name in RECORDS:
        table = np.ascontiguousarray(part).view(RECORDS[name])
        return [np.ascontiguousarray(table[field]) for field in RECORDS[name].names or ()]
    if name == "quality":  # its last row are numbers with a fraction, as bits
        return [part[:-1], np.ascontiguousarray(part[-1]).view(np.float64)]
    return part


def _add(digest: Any, value: Any) -> None:
    match value:
        case np.ndarray():
            array = rounded(value) if value.dtype.kind == "f" else value
            digest.update(f"{array.dtype.str}{value.shape}".encode() + array.tobytes())
        case float():
            _add(digest, np.array([value]))
        case list() | tuple():
            digest.update(f"[{len(value)}".encode())
            for one in value:
                _add(digest, one)
        case dict():
            digest.update(f"{{{len(value)}".encode())
            for key in sorted(value, key=repr):
                _add(digest, key)
                _add(digest, value[key])
        case _:
            digest.update(repr(value).encode())


def rounded(values: NDArray[Any]) -> NDArray[np.uint32]:
    """Keep some six digits of each number, as bits: no nan, no -0."""
    single = np.where(np.isnan(values), np.float32(3.0e38), values.astype(np.float32) + np.float32(0.0))
    bits: NDArray[np.uint32] = single.astype(np.float32).view(np.uint32)
    return (bits + np.uint32(4)) & ~np.uint32(7)


def record() -> None:
    """Record the stories that are not recorded yet."""
    told = stories()
    told += [make().entries for make in STORIES[len(told) :]]
    LINES.write_bytes(zlib.compress(msgspec.msgpack.encode(told), 9))


def _lived(settings: FoldSettings, seed: int) -> World:
    chance, life = Random(seed), Life(settings)
    for _ in range(260):
        life.do(chance.choice(STEPS), chance.randrange(1_000))
    return life.world


def _converted() -> World:
    """Conversions of all kinds of ads, people and their lists, keys and losses."""
    world = Life(SMALL_REST).world
    world.add(
        Campaign(id="c-3", advertiser_id="adv-1", prior_cvr=0.1, budget_total_micros=90_000 * WON),
        AdGroup(id="g-4", campaign_id="c-3", pricing=Pricing(kind="cpa", bid_micros=9_000 * WON)),
        AdGroup(id="g-5", campaign_id="c-3", pricing=Pricing(kind="ocpm", bid_micros=9_000 * WON)),
        banner("cr-5", "g-4"),
        banner("cr-6", "g-5"),
    )
    now_ms, anna, bora = world.now_ms, b"anna-key-012", b"bora-key-012"
    key = ApiKey(id="k-1", name="one", digest=bytes(32), scopes=("ads",), made_at_ms=now_ms)
    world.put(Keyed(at_ms=now_ms, key=key))
    world.put(Profiled(at_ms=now_ms, user=anna, profile=Profile(gender="F", interests=("a", "b"))))
    world.put(Profiled(at_ms=now_ms, user=bora, former_user=b"bora-key-old", profile=Profile(age=33)))
    world.put(Listed(at_ms=now_ms, audience_id="aud-1", name="ab" * 32, count=60))
    for number in range(24):
        kind = ("cpa", "ocpm", "cpm")[number % 3]
        ad = world.ad(f"cr-{4 + number % 3}", (9_000, 9_000, 800)[number % 3] * WON, kind, 0.02, 0.1)
        ad = msgspec.structs.replace(ad, user=(anna, bora)[number % 2])
        world.show(ad)
        if number % 2:
            world.click(ad)
            bought = [world.convert(ad, own_id) for own_id in ("x", "y")[: number % 3]]
            if number % 5 == 0 and bought:
                world.refund(bought[0])
        world.tick(61_000)
    world.put(Lost(at_ms=world.now_ms, reasons=("size",), campaigns=("c-1",), counts=b"\x02\0\0\0"))
    world.put(Erased(at_ms=world.now_ms, users=(bora,)))
    world.tick()
    return world


def _explored() -> World:
    """New ads tried, predictions put right, and an impression since the last tick."""
    world = _lived(msgspec.structs.replace(WATCHED, exploration="thompson", uniform_share=0.1), 3)
    world.put(Ticked(at_ms=world.now_ms, explored=(9_000_000, 8_000_000)))
    world.show(world.ad())
    return world


def _grouped() -> World:
    """Clusters of people and placements, told twice, and an impression since the last tick."""
    world = Life(msgspec.structs.replace(SMALL_REST, silence_clicks=30, calibration_clicks=4)).world
    for people in ((60, 0), (60, 70)):
        centroids = np.eye(2, DIMENSIONS, dtype="<f4").tobytes()
        placements = (("plc-1", 3), ("plc-2", -1))
        world.put(
            Clustered(
                at_ms=world.now_ms,
                centroids=centroids,
                people=people,
                placements=placements,
                projection=PROJECTION,
            )
        )
        world.show(world.serve())
    return world


def _factored() -> World:
    """Vectors learn with the cells."""
    return _lived(msgspec.structs.replace(WATCHED, learner="ffm"), 5)


def _compared() -> World:
    """An experiment: matrices and quality of their own, shadows, a ramp, and a variant promoted before."""
    world = Life(msgspec.structs.replace(WATCHED, invalid_traffic="off")).world
    first = Variant(name="a", share=1.0, floor_factor=0.5, exploration_scale=0.5)
    world.add(Experiment(id="e-0", variants=(first,)))
    world.change("experiment", "e-0", promoted="a")
    own = Variant(name="b", share=0.5, learner=Learning(alpha=0.3), own_calibration=True)
    looking = Variant(name="c", share=1.0, shadow=True, quality_strength=1.0)
    world.add(Experiment(id="e-1", variants=(own, looking), without_id="split"))
    for number in range(40):
        if number % 8 == 0:
            world.tick()
        if number == 20:
            ramped = (msgspec.structs.replace(own, share=0.8), looking)
            world.change("experiment", "e-1", variants=ramped)
        ad = msgspec.structs.replace(world.ad(), variant=(3 + number % 2) * 128 + number)
        shown = world.show(ad)
        if number % 3 == 0:
            world.click(ad)
        elif number % 7 == 0:
            world.refund(shown)
    exposed, shadowed = ((3 * 128, 9, 8), (4 * 128 + 5, 7, 7)), ((5 * 128, 3, 1, 90, 80),)
    world.put(Ticked(at_ms=world.now_ms, exposed=exposed, shadowed=shadowed))
    return world


def _alike() -> World:
    """Look-alike audiences found, found anew and gone, and a bid boosted for one."""
    world = Life(SMALL_REST).world
    like = Audience(id="like-1", advertiser_id="adv-1", lookalike=Lookalike(of="list"))
    world.add(Audience(id="list", advertiser_id="adv-1"), like)
    weights = np.arange(DIMENSIONS, dtype="<f4").tobytes()
    found = Likened(
        at_ms=world.now_ms, audience_id="like-1", by="model", weights=weights, threshold=0.5, members=60,
        people=70, sampled=900, auc=0.8, projection=PROJECTION,
    )  # fmt: skip
    world.put(found)
    world.put(msgspec.structs.replace(found, audience_id="like-2", by="cluster", clusters=(1, 4)))
    world.put(msgspec.structs.replace(found, audience_id="like-3"))
    world.put(Likened(at_ms=world.now_ms, audience_id="like-3"))
    world.change("ad_group", "g-1", targeting=Targeting(boost=(("like-1", 1.5),)))
    world.tick()
    return world


def _admitted() -> World:
    """Words drawn and told, and rows that nobody lights any more."""
    settings = msgspec.structs.replace(SMALL_REST, admission=0.1, unused_days=2)
    life = Life(settings)
    for number in range(60):
        life.do(("serve", "show")[number % 2], number)
    words = b"".join(admission_hash("interest", word).to_bytes(8, "little") for word in "ab")
    life.world.put(Ticked(at_ms=life.world.now_ms, admitted=words))
    for number in range(30):
        life.do(("serve", "show")[number % 2], number)
    life.world.tick(3 * DAY_MS)
    for _ in range(5):
        life.world.tick()
    assert life.world.state.usage.pruned
    return life.world


# Only added to: each was recorded by the build of its time.
STORIES: list[Callable[[], World]] = [
    lambda: _lived(SMALL_REST, 1),
    lambda: _lived(WATCHED, 2),
    _converted,
    _explored,
    _grouped,
    _factored,
    _compared,
    _alike,
    _admitted,
    _grouped,  # of projection 2
    _alike,
]


def write() -> str:
    """Write the golden state; raise the version where it changed since it was written last."""
    found, now = digests(), version.STATE_VERSION
    golden: Golden = json.loads(STATES.read_text())
    of_these = {name.partition(".")[0] for name in golden["parts"]}  # a further story changes no fold
    told_before = {name: part for name, part in found.items() if name.partition(".")[0] in of_these}
    if golden["parts"] != told_before and golden["state_version"] >= now:
        now = golden["state_version"] + 1
        text = re.sub(r"(?m)^STATE_VERSION = \d+$", f"STATE_VERSION = {now}", VERSION.read_text())
        VERSION.write_text(text)
    STATES.write_text(json.dumps({"state_version": now, "parts": found}, indent=1) + "\n")
    return f"state version {now}"


if __name__ == "__main__":
    record()
    sys.stdout.write(write() + "\n")
