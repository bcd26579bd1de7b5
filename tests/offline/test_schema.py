"""Schema files: the example of the documentation reads as it says, all else is refused by its place."""

from pathlib import Path
from typing import Any

import pytest

from app.domain.refusals import Refused
from app.offline.schema import Field, Join, Schema, parse_schema, read_schema

DOCUMENTED = """
label = "click"            # 0/1, or clicks with `imps = "impressions"`
time = "timestamp"         # optional; rows are sorted by it
prior = 0.01               # optional; else (clicks + 1) / (impressions + 100) of the first 1,000 rows
rows    = [{field = "user_feature_0", kind = "hash", size = 256}, {field = "position", kind = "value"}, {field = "age", kind = "bucket", edges = [20, 30, 40]}]
columns = [{field = "item_id", kind = "hash", size = 128}]
crosses = true             # false: main cells alone
join = [{file = "items.csv", on = "item_id"}]
"""  # noqa: E501 - word for word what users are told

ONE_ROW: dict[str, Any] = {"label": "click", "rows": [{"field": "age", "kind": "value"}], "columns": []}


def test_the_documented_schema(tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    path.write_text(DOCUMENTED, encoding="utf-8")
    assert read_schema(path) == Schema(
        label="click",
        time="timestamp",
        prior=0.01,
        rows=(
            Field("user_feature_0", "hash", size=256),
            Field("position", "value"),
            Field("age", "bucket", edges=(20.0, 30.0, 40.0)),
        ),
        columns=(Field("item_id", "hash", size=128),),
        join=(Join("items.csv", "item_id"),),
    )


def test_the_schemas_kept_here_are_sound() -> None:
    paths = sorted((Path(__file__).parent / "schemas").glob("*.toml"))
    assert [len(read_schema(path).columns) for path in paths] == [5, 5, 5, 5]


def row(**keys: object) -> dict[str, object]:
    return {"rows": [keys]}


#   change                                      code            field                 why
REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    ({"lable": "click"},                        "unknown_key",  "lable",              "a slip of the pen"),
    ({"label": 1},                              "bad_schema",   "label",              "not a name"),
    ({"label": ""},                             "bad_schema",   "label",              "no name"),
    ({"imps": 3},                               "bad_schema",   "imps",               "not a name"),
    ({"prior": 0},                              "bad_schema",   "prior",              "no logit"),
    ({"prior": True},                           "bad_schema",   "prior",              "not a number"),
    ({"prior": float("nan")},                   "bad_schema",   "prior",              "not a number either"),
    ({"crosses": 1},                            "bad_schema",   "crosses",            "true or false"),
    ({"rows": "age"},                           "bad_schema",   "rows",               "not a list"),
    ({"rows": ["age"]},                         "bad_schema",   "rows",               "not tables"),
    (row(field="age"),                          "bad_schema",   "rows[0].kind",       "kind is required"),
    (row(field="age", kind="hsah", size=4),     "unknown_kind", "rows[0].kind",       "unknown kind"),
    (row(kind="value"),                         "bad_schema",   "rows[0].field",      "no field"),
    (row(field="age", kind="value", size=4),    "unknown_key",  "rows[0].size",       "a value has none"),
    (row(field="age", kind="hash"),             "bad_schema",   "rows[0].size",       "size is required"),
    (row(field="age", kind="hash", size=0),     "bad_schema",   "rows[0].size",       "no place"),
    (row(field="age", kind="hash", size=2.0),   "bad_schema",   "rows[0].size",       "not whole"),
    (row(field="age", kind="bucket"),           "bad_schema",   "rows[0].edges",      "edges are required"),
    (row(field="age", kind="bucket", edges=[]), "bad_schema",   "rows[0].edges",      "none"),
    (row(field="age", kind="bucket", edges=[2, 2]), "bad_schema",   "rows[0].edges",      "not rising"),
    (row(field="age", kind="bucket", edges=["2"]), "bad_schema",   "rows[0].edges",      "not numbers"),
    ({"join": [{"file": "a.csv"}]},             "bad_schema",   "join[0].on",         "on is required"),
    ({"join": [{"on": "b", "how": "left"}]},    "unknown_key",  "join[0].how",        "one way only"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code", "field", "why"), REFUSED)
def test_refused(change: dict[str, Any], code: str, field: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_schema(ONE_ROW | change)
    assert (refused.value.code, refused.value.field) == (code, field), why
    assert field in refused.value.message


@pytest.mark.parametrize("key", ["label", "rows", "columns"])
def test_what_is_required(key: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_schema({name: value for name, value in ONE_ROW.items() if name != key})
    assert (refused.value.code, refused.value.field) == ("bad_schema", key)


def test_files_that_are_no_schema(tmp_path: Path) -> None:
    (tmp_path / "not.toml").write_text("label = ", encoding="utf-8")
    for name, code in (("none.toml", "not_found"), ("not.toml", "bad_schema")):
        with pytest.raises(Refused) as refused:
            read_schema(tmp_path / name)
        assert refused.value.code == code
