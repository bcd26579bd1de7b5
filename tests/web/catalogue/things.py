"""Any sound thing of the catalogue, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from app.domain.catalogue import (
    AdGroup,
    Advertiser,
    Audience,
    Blocked,
    Campaign,
    Creative,
    Experiment,
    Format,
    FrequencyCap,
    Learning,
    Lookalike,
    Native,
    Placement,
    Pricing,
    Publisher,
    Rule,
    Status,
    Targeting,
    Thing,
    Variant,
)
from app.domain.money import MAX_MICROS
from app.web.catalogue.fields import MAX_INSTANT_MS, known_zones

LETTERS = "ABCxyz019._:-"
ids = st.text(LETTERS, min_size=1, max_size=64)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
labels = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
lower_labels = st.text("abcdefgh-1", min_size=1, max_size=40)
domain_names = st.sampled_from(["example.com", "news.example"])
statuses: st.SearchStrategy[Status] = st.sampled_from(["active", "paused", "archived"])
formats: st.SearchStrategy[Format] = st.sampled_from(["banner", "video", "audio", "native"])
money = st.integers(0, MAX_MICROS)
rates = st.floats(0, 1, exclude_min=True, exclude_max=True)
categories = st.from_regex(r"IAB[1-9][0-9]?(-[1-9])?", fullmatch=True)
codes = st.integers(0, 10_000)
urls = st.sampled_from(["https://example.com/", "http://a.b:8080/?c={click_url}", "https://예시.kr/길"])


def several(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=3).map(tuple)


def perhaps(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | of


def whole_terms(low: int, high: int, wraps: bool = False) -> st.SearchStrategy[Any]:
    number = st.integers(low, high)
    pair = st.tuples(number, number)
    return number | (pair if wraps else pair.map(lambda two: (min(two), max(two))))


numbers = st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9)
key_terms = labels | numbers | st.tuples(numbers, numbers).map(lambda two: (min(two), max(two)))
caps = several(
    st.builds(
        FrequencyCap,
        count=st.integers(1, 9),
        per=st.sampled_from(["minute", "hour", "day", "week", "lifetime"]),
    )
)


def rules(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Rule]:
    return st.builds(Rule, include=several(of), exclude=several(of))


targetings = st.builds(
    Targeting,
    gender=rules(st.sampled_from("MFO")),
    age=rules(whole_terms(0, 150)),
    region=rules(st.from_regex(r"[A-Z]{2}(-[A-Z0-9]{1,3})?", fullmatch=True)),
    interest=rules(labels),
    segment=rules(labels),
    device=rules(labels),
    os=rules(labels),
    placement=rules(ids),
    publisher=rules(ids),
    site_category=rules(categories),
    browser=rules(lower_labels),
    site=rules(domain_names),
    app=rules(lower_labels),
    keyword=rules(lower_labels),
    hour=rules(whole_terms(0, 23, wraps=True)),
    weekday=rules(whole_terms(0, 6)),
    deal=rules(labels),
    audience=rules(ids),
    exclude_after=st.sampled_from(["", "click", "conversion"]),
    boost=st.dictionaries(ids, st.floats(0.1, 10), max_size=2).map(lambda of: tuple(sorted(of.items()))),
    keys=st.dictionaries(labels, rules(key_terms), max_size=3),
)
lookalikes = st.builds(
    Lookalike, of=ids, by=st.sampled_from(["model", "cluster"]), reach=st.floats(0.001, 0.5)
)


@st.composite
def campaigns(draw: st.DrawFn) -> Campaign:
    starts, ends = draw(
        st.lists(st.integers(0, MAX_INSTANT_MS - 1), min_size=2, max_size=2, unique=True).map(sorted)
    )
    return Campaign(
        id=draw(ids),
        advertiser_id=draw(ids),
        name=draw(text),
        objective=draw(text),
        budget_daily_micros=draw(perhaps(money)),
        budget_total_micros=draw(perhaps(money)),
        starts_at_ms=draw(perhaps(st.just(starts))),
        ends_at_ms=draw(perhaps(st.just(ends))),
        time_zone=draw(st.sampled_from(sorted(known_zones()))),
        pacing=draw(st.sampled_from(["even", "asap"])),
        prior_cvr=draw(perhaps(rates)),
        frequency_cap=draw(caps),
        status=draw(statuses),
    )


@st.composite
def creatives(draw: st.DrawFn) -> Creative:
    form = draw(formats)
    sized = form == "banner" or draw(st.booleans())
    pixels = st.integers(1, 99_999)
    vast = form in ("video", "audio")
    return Creative(
        id=draw(ids),
        ad_group_id=draw(ids),
        name=draw(text),
        format=form,
        width=draw(pixels) if sized else None,
        height=draw(pixels) if sized else None,
        landing_url=draw(urls),
        markup="<VAST>" + draw(text) if vast else draw(perhaps(text)),
        categories=draw(several(categories)),
        attributes=draw(several(codes)),
        secure=draw(st.booleans()),
        language=draw(perhaps(st.sampled_from(["ko", "en-GB"]))),
        mimes=draw(several(st.sampled_from(["video/mp4", "image/png"]))),
        protocols=draw(several(codes)),
        api=draw(several(codes)),
        duration_s=draw(perhaps(st.integers(1, 86_400))),
        native=draw(natives) if form == "native" else None,
        frequency_cap=draw(caps),
        status=draw(statuses),
    )


natives = st.builds(
    Native,
    title=perhaps(text),
    body=perhaps(text),
    sponsored=perhaps(text),
    cta=perhaps(text),
    icon_url=perhaps(urls),
    image_url=perhaps(urls),
    image_width=perhaps(st.integers(1, 99_999)),
    image_height=perhaps(st.integers(1, 99_999)),
)
domains = domain_names
sizes = st.tuples(st.integers(1, 99_999), st.integers(1, 99_999))
shares = st.floats(0.0, 0.25)
learnings = st.builds(Learning, alpha=st.floats(0.01, 1.0), l1=perhaps(st.floats(0.0, 2.0)))
variants = st.builds(
    Variant,
    name=st.just("b"),
    share=shares,
    learner=st.none(),
    own_calibration=st.booleans(),
    exploration_scale=perhaps(st.floats(0.0, 10.0)),
    floor_factor=perhaps(st.floats(0.0, 9.0)),
    floor_micros=perhaps(money),
    quality_strength=perhaps(shares),
) | st.builds(Variant, name=st.just("b"), share=shares, learner=learnings, own_calibration=st.just(True))
experiments = st.builds(
    Experiment,
    id=ids,
    name=text,
    variants=st.tuples(variants)
    | st.tuples(variants, st.builds(Variant, name=st.just("c"), shadow=st.just(True), share=shares)),
    without_id=st.sampled_from(["leave_out", "split"]),
    promoted=st.sampled_from([None, "b"]),
    status=statuses,
)
things: st.SearchStrategy[Thing] = st.one_of(
    st.builds(
        Advertiser,
        id=ids,
        name=text,
        domain=perhaps(domains),
        category=perhaps(categories),
        seat=perhaps(labels),
        status=statuses,
    ),
    campaigns(),
    st.builds(
        AdGroup,
        id=ids,
        campaign_id=ids,
        name=text,
        pricing=st.builds(
            Pricing,
            kind=st.sampled_from(["cpm", "cpc", "cpa", "ocpm"]),
            bid_micros=st.integers(1, MAX_MICROS),
        ),
        budget_daily_micros=perhaps(money),
        budget_total_micros=perhaps(money),
        frequency_cap=caps,
        targeting=targetings,
        status=statuses,
    ),
    creatives(),
    experiments,
    st.builds(Audience, id=ids, advertiser_id=ids, name=text, status=statuses, lookalike=perhaps(lookalikes)),
    st.builds(Publisher, id=ids, name=text, domain=perhaps(domains), status=statuses),
    st.builds(
        Placement,
        id=ids,
        publisher_id=ids,
        name=text,
        sizes=several(sizes),
        formats=several(formats),
        categories=several(categories),
        floor_micros=money,
        prior_ctr=perhaps(rates),
        separation=several(st.sampled_from(["creative", "advertiser", "category"])),
        blocked=st.builds(
            Blocked, categories=several(categories), advertisers=several(labels), creatives=several(ids)
        ),
        status=statuses,
    ),
)
