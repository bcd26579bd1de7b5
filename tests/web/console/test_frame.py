"""The frame: figures as tables and CSV, formats, and escaping of what strangers wrote.

Method: values through the frame's own templates, without a server.
"""

from __future__ import annotations

import csv
import io
from types import SimpleNamespace
from typing import Any

import pytest

from app.web.console.figures import INLINE_ROWS, Cell, Chart, Column, Interval, Kind, Link, Mark, Table
from app.web.console.frame import HERE, Frame
from tests.web.console.browser import plain, rows_of

HOSTILE = '<script>alert("1")</script>'


def frame() -> Frame:
    """A frame without a node behind it."""
    settings = SimpleNamespace(fold=SimpleNamespace(time_zone="Asia/Seoul"), currency="KRW")
    return Frame(SimpleNamespace(settings=settings))  # type: ignore[arg-type] # all that it reads of a node


def render(macro: str, *values: Any) -> str:
    """Render one macro."""
    arguments = {f"v{at}": value for at, value in enumerate(values)}
    source = "{{ ui." + macro + "(" + ", ".join([*arguments, "query"]) + ") }}"
    query = lambda **changes: "?" + "&".join(f"{key}={each}" for key, each in changes.items() if each)  # noqa: E731
    return frame().templates.from_string(source).render(**arguments, query=query)


#   kind, cell, shown, CSV, why
CELLS: list[tuple[Kind, Cell, str, list[str], str]] = [
    ("text", "adv-1", "adv-1", ["adv-1"], "as it is"),
    ("text", HOSTILE, HOSTILE, [HOSTILE], "text, not markup"),
    ("text", "=1+1", "=1+1", ["'=1+1"], "no formula"),
    ("text", Link("c-1", "/x?a=1&b=2"), "c-1", ["c-1"], "the words"),
    ("number", 1234567, "1,234,567", ["1234567"], "thousands"),
    ("number", None, "–", [""], "nothing known"),
    ("money", 1_764_705_883, "1,765", ["1764.705883"], "to the micro"),
    ("percent", 0.0123, "1.23 %", ["0.0123"], "a share"),
    ("percent", Interval(0.02, 0.01, 0.03), "2.00 % (1.00–3.00 %)", ["0.02", "0.01", "0.03"], "an interval"),
    ("time", 0, "1970-01-01 09:00:00", ["1970-01-01T00:00:00+00:00"], "zone, and UTC"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "cell", "shown", "cells", "why"), CELLS)
def test_a_cell_reads_the_same_on_the_page_and_in_the_file(
    kind: Kind, cell: Cell, shown: str, cells: list[str], why: str
) -> None:
    table = Table(id="t", title="T", columns=[Column("c", kind)], rows=[[cell]])
    text = render("table", table)
    assert rows_of(text, "t") == [["c"], [shown]], why
    assert list(csv.reader(io.StringIO(table.csv().decode(), newline="")))[1] == cells, why
    assert "<script" not in text


def test_thin_rows_are_grey_and_say_why() -> None:
    table = Table(
        id="t", title="T", columns=[Column("c")], rows=[["a"], ["b"]], thin=frozenset({1}), why_thin="3 views"
    )
    assert '<tr class="thin" title="3 views">' in render("table", table)
    assert render("table", table).count("thin") == 1


def test_a_chart_has_the_numbers_that_its_table_and_its_file_have() -> None:
    chart = Chart(
        id="rate", title="Rate", unit="a second", x=[0, 60, 120],
        series={"a": [1, None, 3], HOSTILE: [4, 5, 6]}, marks=[Mark(70, HOSTILE)],
    )  # fmt: skip
    text = render("chart", chart)
    assert "<script" not in text
    rows = rows_of(text, "rate")
    assert rows[0] == ["time", "a a second", f"{HOSTILE} a second", "what changed"]
    assert [row[1:] for row in rows[1:]] == [["1", "4", ""], ["–", "5", HOSTILE], ["3", "6", ""]]
    lines = list(csv.reader(io.StringIO(chart.table().csv().decode(), newline="")))
    assert [line[1:] for line in lines[1:]] == [["1", "4", ""], ["", "5", HOSTILE], ["3", "6", ""]]


def test_a_long_table_is_fetched_when_it_is_opened() -> None:
    count = INLINE_ROWS + 1
    chart = Chart(id="long", title="Long", unit="", x=list(range(count)), series={"a": list(range(count))})
    text = render("chart", chart)
    assert "<table" not in text
    assert 'href="?table=long"' in text


def test_an_empty_figure_says_so() -> None:
    assert plain(render("chart", Chart(id="c", title="C", unit="", x=[], series={}))) == "C Nothing yet."
    assert plain(render("table", Table(id="t", title="T", columns=[], rows=[]))) == "Nothing yet."


def test_a_field_shows_what_the_api_said_of_it() -> None:
    template = frame().templates.from_string(
        '{{ ui.field("pricing.bid", "Bid", value, {"pricing.bid": problem}, hint="KRW") }}'
        '{{ ui.refusal({"": problem}) }}'
    )
    text = template.render(value=f'"{HOSTILE}', problem=HOSTILE)
    assert "<script" not in text
    assert 'aria-describedby="e-pricing.bid h-pricing.bid" aria-invalid="true"' in text
    assert 'id="e-pricing.bid"' in text
    assert 'role="alert"' in text


def test_no_template_holds_script_style_or_handlers_of_its_own() -> None:
    for path in (HERE / "templates").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        for word in (" style=", "<style", " onclick", "javascript:", "| safe", "http://", "https://"):
            assert word not in text, (path.name, word)
        assert all(" src=" in part.split(">")[0] for part in text.split("<script")[1:]), path.name


def test_what_was_vendored_keeps_its_licence() -> None:
    for folder in (HERE / "static" / "vendor").iterdir():
        assert (folder / "LICENSE").read_text(encoding="utf-8").strip(), folder.name
