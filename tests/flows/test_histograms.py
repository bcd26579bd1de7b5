"""Our histograms against prometheus_client's own: the same scrape of the same observations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from app.flows.histograms import Histogram as OurHistogram

EDGES = (0.001, 0.04, 0.1, 1.0)
values = st.floats(0, 5) | st.sampled_from(EDGES)


def samples(registry: CollectorRegistry) -> list[str]:
    """The lines of a scrape but for `_created`, which tells when a series began."""
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if "_created" not in line)


@given(st.dictionaries(st.sampled_from(["/v1/ads", "/i"]), st.lists(values, max_size=30)))
def test_a_scrape_shows_what_prometheus_own_would(observed: dict[str, list[float]]) -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    their = Histogram("time_seconds", "Time", ["route"], buckets=EDGES, registry=theirs)
    our = OurHistogram("time_seconds", "Time", EDGES, "route", ours)
    for route, seconds in observed.items():
        for value in seconds:
            their.labels(route).observe(value)
            our.labels(route).observe(value)
        their.labels(route)
        our.labels(route)
    assert samples(ours) == samples(theirs)


def test_without_a_label_it_is_one_series() -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    their = Histogram("candidates", "Ads", buckets=EDGES, registry=theirs)
    our = OurHistogram("candidates", "Ads", EDGES, None, ours)
    for value in (0.0, 0.04, 7.0):
        their.observe(value)
        our.observe(value)
    assert samples(ours) == samples(theirs)
