"""`fit`: the lines it takes and refuses, the file it writes, and the numbers against a plain learner."""

import gzip
import math
from pathlib import Path

import pytest

from app.domain.refusals import Refused
from app.offline.fit import fit_file
from app.rules.ftrl import Rates
from app.rules.ftrl_plain import PlainCell, plain_learn

RATES = Rates(0.3, 0.3, 0.5, 0.02, 0.02, 0.7)


def samples_file(folder: Path, text: str) -> Path:
    path = folder / "samples.svm"
    path.write_text(text, encoding="utf-8")
    return path


def test_one_pass_is_that_of_the_plain_learner(tmp_path: Path) -> None:
    lines = [(k * 7 % 3 == 0, [k % 5, 100 + k % 11, 10**12 + k % 2]) for k in range(400)]
    text = "".join(f"{int(y)} " + " ".join(f"{i}:1" for i in indexes) + "\n" for y, indexes in lines)
    result = fit_file(samples_file(tmp_path, text), RATES)
    cells: dict[int, PlainCell] = {}
    nats = 0.0
    for clicked, indexes in lines:
        lit = [cells.setdefault(index, PlainCell(0.3, 0.5, 0.02, 0.7)) for index in indexes]
        p = plain_learn(lit, 0.0, 1.0, float(clicked))
        nats -= math.log(p if clicked else 1.0 - p)
    assert result.indexes == sorted(cells)
    assert result.log_loss == pytest.approx(nats / 400, rel=1e-9)
    assert result.z == pytest.approx([cells[index].z for index in result.indexes], rel=1e-9)
    assert result.n == pytest.approx([cells[index].n for index in result.indexes], rel=1e-9)
    assert result.w == pytest.approx([cells[index].w for index in result.indexes], rel=1e-6)


def test_the_first_line_by_hand(tmp_path: Path) -> None:
    """p = 0.5, so g = -0.5, n = 0.25, z = -0.5, w = 0.5 / ((1 + 0.5) / 0.1 + 1) = 1/32."""
    result = fit_file(samples_file(tmp_path, "1 1:1 2:1\n"), Rates(0.1, 0.1, 1.0, 0.0, 0.0, 1.0))
    assert result.log_loss == pytest.approx(math.log(2.0))
    assert [result.z.tolist(), result.n.tolist(), result.w.tolist()] == [
        [-0.5, -0.5],
        [0.25, 0.25],
        [1 / 32, 1 / 32],
    ]


def test_weights_are_written_in_full_precision(tmp_path: Path) -> None:
    result = fit_file(samples_file(tmp_path, "1 3:1 20:1\n0 20:1\n1 100:1.0\n1 3:1\n"), RATES)
    result.write(tmp_path / "weights.tsv")
    lines = (tmp_path / "weights.tsv").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in lines] == ["3", "20", "100"]
    read_back = [[float(word) for word in line.split("\t")[1:]] for line in lines]
    assert read_back == [list(one) for one in zip(result.z, result.n, result.w, strict=True)]


@pytest.mark.parametrize(
    "same", ["1 3:1\n-1 3:1 4:1\n", "+1 3:1\n\n0 4:1 3:1.0 # why not\n", "1,1 3:1\n1,0 3:1 4:1"]
)
def test_labels_have_several_spellings(tmp_path: Path, same: str) -> None:
    plain = fit_file(samples_file(tmp_path, "1 3:1\n0 3:1 4:1\n"), RATES)
    other = fit_file(samples_file(tmp_path, same), RATES)
    assert other.z.tolist() == plain.z.tolist()
    assert other.samples == other.impressions == 2
    assert other.clicks == 1


def test_an_aggregated_line_ends_at_its_rate(tmp_path: Path) -> None:
    result = fit_file(samples_file(tmp_path, "100000,1500 1:1\n"), Rates(1.0, 1.0, 1.0, 0.0, 0.0, 0.0))
    assert 1.0 / (1.0 + math.exp(-result.w[0])) == pytest.approx(0.015, abs=1e-4)
    assert (result.samples, result.impressions, result.clicks) == (1, 100_000, 1_500)


def test_gzip_is_read(tmp_path: Path) -> None:
    zipped = tmp_path / "samples.svm.gz"
    zipped.write_bytes(gzip.compress(b"1 3:1\n0 3:1 4:1\n"))
    plain = fit_file(samples_file(tmp_path, "1 3:1\n0 3:1 4:1\n"), RATES)
    assert fit_file(zipped, RATES).w.tolist() == plain.w.tolist()


def test_no_line_is_no_loss(tmp_path: Path) -> None:
    result = fit_file(samples_file(tmp_path, "\n# nothing\n"), RATES)
    assert (result.samples, result.log_loss, result.indexes) == (0, None, [])


def test_a_line_without_indexes_is_predicted_at_one_half(tmp_path: Path) -> None:
    assert fit_file(samples_file(tmp_path, "1\n0\n"), RATES).log_loss == pytest.approx(math.log(2.0))


def test_progress_adds_up_to_no_more_than_the_file(tmp_path: Path) -> None:
    path = samples_file(tmp_path, "1 3:1\n" * 10_000)
    steps: list[int] = []
    fit_file(path, RATES, steps.append)
    assert 0 < sum(steps) <= path.stat().st_size
    assert min(steps) >= 0


#   second line       its message says       why
REFUSED = [
    ("1 3:0.5",       "index 3",             "a value other than 1"),
    ("1 3:2",         "index 3",             "the same"),
    ("1 3:",          "index 3",             "no value"),
    ("1 3",           "index:1",             "no colon"),
    ("1 a:1",         "index:1",             "an index is a whole number"),
    ("1 -3:1",        "index:1",             "from 0 on"),
    ("2 3:1",         "label",               "an unknown label"),
    ("1,2 3:1",       "label",               "more clicks than impressions"),
    ("1.5,1 3:1",     "label",               "half an impression"),
    ("3:1",           "label",               "no label"),
    ("1 3:1 3:1",     "twice",               "a binary feature is lit once"),
    ("1 \xff:1",      "index:1",             "no text"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "says", "why"), REFUSED)
def test_bad_lines_are_refused_with_their_number(tmp_path: Path, line: str, says: str, why: str) -> None:
    with pytest.raises(Refused, match=says) as refused:
        fit_file(samples_file(tmp_path, f"1 3:1\n{line}\n1 3:1\n"), RATES)
    assert (refused.value.code, refused.value.field) == ("bad_line", "line 2"), why
    assert "line 2" in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        fit_file(tmp_path / "none.svm", RATES)
    assert refused.value.code == "not_found"


@pytest.mark.parametrize(
    ("rates", "field"),
    [
        (Rates(alpha_main=0.0), "alpha"),
        (Rates(alpha_main=float("nan")), "alpha"),
        (Rates(beta=-1.0), "beta"),
        (Rates(l1_main=-1.0), "l1"),
        (Rates(l2=-0.1), "l2"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, rates: Rates, field: str) -> None:
    with pytest.raises(Refused) as refused:
        fit_file(samples_file(tmp_path, "1 3:1\n"), rates)
    assert (refused.value.code, refused.value.field) == ("bad_setting", field)
