"""Forms and documents: what a form shows of a document says the same again, and bad text is sent as it is."""

from __future__ import annotations

from typing import Any

import pytest

from app.web.catalogue.models_in import MODELS
from app.web.catalogue.parsing import parse
from app.web.catalogue.render import to_document
from app.web.console.fields import beside, changed, marks_of, merged, typed
from app.web.console.shapes import SHAPES

DOCUMENTS: dict[str, dict[str, Any]] = {
    "campaign": {
        "id": "c", "advertiser_id": "a", "name": "N", "budget_daily": 10.5, "budget_total": 100,
        "starts_at": "2026-05-01T09:00:00.123+09:00", "ends_at": "2026-06-01T00:00:30+09:00",
        "time_zone": "America/New_York", "pacing": "asap", "prior_cvr": 0.02,
        "frequency_cap": [{"count": 3, "per": "day"}, {"count": 9, "per": "lifetime"}], "status": "paused",
    },
    "ad_group": {
        "id": "g", "campaign_id": "c", "pricing": {"kind": "ocpm", "target_cpa": 5_000},
        "targeting": {
            "gender": ["F"], "age": [[20, 29], 35], "hour": {"include": [[22, 3]], "exclude": [23]},
            "segment": ["a, b", "c"], "keys": {"team": ["red"], "n": [[1, 2]]},
            "audience": {"include": ["x"], "exclude": [], "exclude_after": "click", "boost": {"y": 2.0}},
        },
    },
    "creative": {
        "id": "cr", "ad_group_id": "g", "format": "native", "landing_url": "https://x.example/",
        "markup": " <b>\n two lines </b>\n", "secure": False, "attributes": [1, 2], "mimes": ["video/mp4"],
        "native": {"title": "T", "image_url": "https://x.example/i.png", "image_width": 10},
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_form_that_was_not_touched_changes_nothing(kind: Any) -> None:
    """Even what a form cannot show exactly: milliseconds, words with commas, what has no field."""
    document = to_document(parse(kind, DOCUMENTS[kind], "Asia/Seoul").thing)
    shown = typed(SHAPES[kind], document)
    sent = {name: text.replace("\n", "\r\n") for name, text in shown.items()}
    assert changed(SHAPES[kind], document, sent) == document
    assert changed(SHAPES[kind], document, {}) == document, "fields that were not sent stay"


@pytest.mark.parametrize("kind", SHAPES)
def test_every_field_is_one_of_the_apis(kind: Any) -> None:
    known = set(MODELS[kind].model_fields)
    assert {name.split(".")[0] for name in SHAPES[kind].names} <= known
    missing = known - {name.split(".")[0] for name in SHAPES[kind].names}
    assert missing <= {"id", "type", "advertiser_id", "campaign_id", "ad_group_id"}


def test_one_side_of_a_dimension_leaves_the_other() -> None:
    document = to_document(parse("ad_group", DOCUMENTS["ad_group"], "Asia/Seoul").thing)
    sent = {"targeting.gender.exclude": "M", "targeting.hour.include": "", "targeting.audience.include": ""}
    targeting = changed(SHAPES["ad_group"], document, sent)["targeting"]
    assert targeting["gender"] == {"include": ["F"], "exclude": ["M"]}
    assert targeting["hour"] == {"exclude": [23]}
    assert targeting["audience"] == {"exclude": [], "exclude_after": "click", "boost": {"y": 2.0}}
    assert targeting["segment"] == ["a, b", "c"]


def test_a_problem_stands_beside_its_field() -> None:
    names = SHAPES["ad_group"].names
    problems = {
        "targeting.age[0]": "a", "targeting.hour.include[1]": "b", "pricing": "c", "targeting.boost": "d",
        "": "e", "frequency_cap[0].count": "f",
    }  # fmt: skip
    assert beside(problems, names) == {
        "targeting.age.include": "a", "targeting.hour.include": "b", "pricing.kind": "c",
        "targeting.boost": "d", "": "e", "frequency_cap": "f",
    }  # fmt: skip


def test_marks_that_nobody_wrote_are_nobodys() -> None:
    assert merged({"name": "mine"}, "nonsense x=", {"name": "now", "bid": "1"}) == (
        {"name": "mine", "bid": "1"}, {"name": "now"},
    )  # fmt: skip
    assert merged({"name": "a\r\nb "}, marks_of({"name": "a\nb"}), {"name": "c"}) == ({"name": "c"}, {})
