"""The compiled learning kernels against their plain twin, published values, and laws of the arithmetic.

What is published elsewhere is given through `step(cells, gradient, advance)`: TensorFlow's and Keras' FTRL
write the L2 term as 2 * l2, start n at 0.1, and start with a weight that z (0) does not give: the first
step must use the weight as it stands.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.rules import ftrl
from app.rules.ftrl import F32, F64, NO_MAIN_ONLY, Cells, Rates
from app.rules.ftrl_plain import PlainCell, plain_learn

CELL_COUNT = 6
MAIN_COUNT = 2
PRIOR_LOGIT = math.log(0.01 / 0.99)


@dataclass(frozen=True, slots=True)
class Model:
    """Six cells, the first two of them main."""

    z: F64
    n: F64
    w: F32
    cells: Cells
    hyper: F64

    def check(self, rates: Rates) -> None:
        """n is never negative, no sum is lost to NaN, and w is what (z, n) give: never stale."""
        assert np.isfinite(self.z).all()
        assert np.isfinite(self.n).all()
        assert (self.n >= 0.0).all()
        for k in range(CELL_COUNT):
            main = k < MAIN_COUNT
            alpha = rates.alpha_main if main else rates.alpha_cross
            l1 = rates.l1_main if main else rates.l1_cross
            expected = PlainCell(alpha, rates.beta, l1, rates.l2).weight(self.z[k], self.n[k])
            assert self.w[k] == np.float32(expected)


def fresh(rates: Rates) -> Model:
    return Model(
        z=np.zeros(CELL_COUNT),
        n=np.zeros(CELL_COUNT),
        w=np.zeros(CELL_COUNT, np.float32),
        cells=np.arange(CELL_COUNT, dtype=np.int64),
        hyper=rates.array(),
    )


def plain(rates: Rates) -> list[PlainCell]:
    main = [PlainCell(rates.alpha_main, rates.beta, rates.l1_main, rates.l2) for _ in range(MAIN_COUNT)]
    crosses = [PlainCell(rates.alpha_cross, rates.beta, rates.l1_cross, rates.l2) for _ in range(4)]
    return main + crosses


def learn(model: Model, impressions: float, clicks: float) -> float:
    return ftrl.learn(
        model.z, model.n, model.w, model.cells, MAIN_COUNT, CELL_COUNT, PRIOR_LOGIT, impressions, clicks,
        model.hyper,
    )  # fmt: skip


RATES = st.builds(
    Rates,
    alpha_main=st.floats(0.01, 1.0),
    alpha_cross=st.floats(0.002, 1.0),
    beta=st.floats(0.1, 2.0),
    l1_main=st.sampled_from([0.0, 0.1, 1.0]),
    l1_cross=st.sampled_from([0.0, 0.1, 1.0]),
    l2=st.floats(0.0, 3.0),
)
SAMPLE = st.sampled_from([(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (5.0, 2.0)])


@settings(deadline=None, max_examples=100)
@given(rates=RATES, samples=st.lists(SAMPLE, min_size=1, max_size=40))
def test_learn_is_its_plain_twin(rates: Rates, samples: list[tuple[float, float]]) -> None:
    model, twin = fresh(rates), plain(rates)
    for impressions, clicks in samples:
        p = learn(model, impressions, clicks)
        assert p == pytest.approx(plain_learn(twin, PRIOR_LOGIT, impressions, clicks), rel=1e-9)
    assert model.z == pytest.approx([cell.z for cell in twin], rel=1e-9, abs=1e-9)
    assert model.n == pytest.approx([cell.n for cell in twin], rel=1e-9, abs=1e-9)
    assert model.w == pytest.approx([cell.w for cell in twin], rel=1e-6, abs=1e-7)
    model.check(rates)


STEP = st.tuples(st.floats(-3.0, 3.0), st.floats(-1.0, 4.0))


@settings(deadline=None, max_examples=100)
@given(rates=RATES, steps=st.lists(STEP, min_size=1, max_size=30))
def test_step_is_its_plain_twin_for_any_gradient_and_advance(
    rates: Rates, steps: list[tuple[float, float]]
) -> None:
    model, twin = fresh(rates), plain(rates)
    for gradient, advance in steps:
        ftrl.step(
            model.z, model.n, model.w, model.cells, MAIN_COUNT, CELL_COUNT, gradient, advance, model.hyper
        )
        for cell in twin:
            cell.step(gradient, advance)
        model.check(rates)
    assert model.n == pytest.approx([cell.n for cell in twin], rel=1e-12, abs=1e-12)
    assert model.z == pytest.approx([cell.z for cell in twin], rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=100)
@given(
    rates=RATES,
    samples=st.lists(SAMPLE, max_size=20),
    gradient=st.floats(-2.0, 2.0),
    advance=st.floats(0.0, 3.0),
)
def test_unlearn_right_after_is_exact(
    rates: Rates, samples: list[tuple[float, float]], gradient: float, advance: float
) -> None:
    model = fresh(rates)
    for impressions, clicks in samples:
        learn(model, impressions, clicks)
    z, n, w = model.z.copy(), model.n.copy(), model.w.copy()
    update = (model.cells, MAIN_COUNT, CELL_COUNT, gradient, advance, model.hyper)
    ftrl.step(model.z, model.n, model.w, *update)
    ftrl.unlearn(model.z, model.n, model.w, *update)
    # Where the old |z| lies within rounding of l1, the other branch is as right: w is then about 0 in both.
    assert model.n == pytest.approx(n, rel=1e-12, abs=1e-12)
    assert model.z == pytest.approx(z, rel=1e-7, abs=1e-7)
    assert model.w == pytest.approx(w, rel=1e-5, abs=1e-6)
    model.check(rates)


@settings(deadline=None, max_examples=100)
@given(rates=RATES, samples=st.lists(SAMPLE, max_size=20), step=STEP)
def test_unlearn_is_its_plain_twin(
    rates: Rates, samples: list[tuple[float, float]], step: tuple[float, float]
) -> None:
    model, twin = fresh(rates), plain(rates)
    for impressions, clicks in samples:
        learn(model, impressions, clicks)
    for k, cell in enumerate(twin):
        cell.z, cell.n, cell.w = model.z[k], model.n[k], float(model.w[k])
        cell.unlearn(*step)
    ftrl.unlearn(model.z, model.n, model.w, model.cells, MAIN_COUNT, CELL_COUNT, *step, model.hyper)
    assert model.n == pytest.approx([cell.n for cell in twin], rel=1e-12, abs=1e-12)
    assert model.z == pytest.approx([cell.z for cell in twin], rel=1e-6, abs=1e-6)
    model.check(rates)


def test_events_taken_back_newest_first_leave_nothing() -> None:
    rates = Rates(l1_main=0.05, l1_cross=0.02)
    model = fresh(rates)
    for _ in range(50):
        learn(model, 1.0, 0.0)
    z, n, w = model.z.copy(), model.n.copy(), model.w.copy()
    kept = [(impressions, clicks, learn(model, impressions, clicks)) for impressions, clicks in
            [(1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 0.0), (0.0, 1.0)]]  # fmt: skip
    assert abs(model.z - z).max() > 1.0
    for impressions, clicks, p in reversed(kept):
        gradient, advance = ftrl.sums_of(p, impressions, clicks)
        ftrl.unlearn(
            model.z, model.n, model.w, model.cells, MAIN_COUNT, CELL_COUNT, gradient, advance, model.hyper
        )
    assert model.z == pytest.approx(z, rel=1e-11)
    assert model.n == pytest.approx(n, rel=1e-11)
    assert (model.w == w).all()


# ------------------------------------------------------------------------------------ published values
#   w0      g             steps  l1     l2   expected                      (lr 3, n0 0.1)
TENSORFLOW = [
    ((0, 0), (0.1, 0.2),   3,  0.0,   0.0, (-2.60260963, -4.29698515)),
    ((0, 0), (0.01, 0.02), 3,  0.0,   0.0, (-0.28432083, -0.56694895)),
    ((1, 2), (0.1, 0.2),   3,  0.0,   0.0, (-2.55607247, -3.98729396)),
    ((4, 3), (0.01, 0.02), 3,  0.0,   0.0, (-0.28232238, -0.56096673)),
    ((1, 2), (0.1, 0.2),   10, 0.001, 0.0, (-7.66718769, -10.91273689)),
    ((4, 3), (0.01, 0.02), 10, 0.001, 0.0, (-0.93460727, -1.86147261)),
    ((1, 2), (0.1, 0.2),   10, 0.001, 2.0, (-0.24059935, -0.46829352)),
    ((4, 3), (0.01, 0.02), 10, 0.001, 2.0, (-0.02406147, -0.04830509)),
]  # fmt: skip


def one_cell_after(weight: float, gradient: float, steps: int, rates: Rates) -> float:
    """Step one main cell as both libraries start it: n at 0.1, z at 0, beside the weight told."""
    z, n, w = np.zeros(1), np.full(1, 0.1), np.full(1, weight, np.float32)
    cells = np.zeros(1, np.int64)
    for _ in range(steps):
        ftrl.step(z, n, w, cells, 1, 1, gradient, gradient * gradient, rates.array())
    return float(w[0])


@pytest.mark.parametrize(("weights", "gradients", "steps", "l1", "l2", "expected"), TENSORFLOW)
def test_tensorflow_rows(
    weights: tuple[float, float],
    gradients: tuple[float, float],
    steps: int,
    l1: float,
    l2: float,
    expected: tuple[float, float],
) -> None:
    """Source: tensorflow/python/training/ftrl_test.py."""
    rates = Rates(alpha_main=3.0, beta=0.0, l1_main=l1, l2=2.0 * l2)
    for weight, gradient, value in zip(weights, gradients, expected, strict=True):
        assert one_cell_after(weight, gradient, steps, rates) == pytest.approx(value, abs=2e-6)


KERAS = [(1.0, 1.0, 0.2218), (2.0, 6.0, 1.3954), (3.0, 7.0, 2.3651), (4.0, 2.0, 2.8814)]


@pytest.mark.parametrize(("weight", "gradient", "expected"), KERAS)
def test_keras_single_step(weight: float, gradient: float, expected: float) -> None:
    """Source: keras/src/optimizers/ftrl_test.py."""
    rates = Rates(alpha_main=0.5, beta=0.0, l2=0.0)
    assert one_cell_after(weight, gradient, 1, rates) == pytest.approx(expected, abs=1e-4)


# ------------------------------------------------------------------------------------ laws
@settings(deadline=None, max_examples=100)
@given(rates=RATES, before=st.lists(SAMPLE, max_size=20))
@example(rates=Rates(1.0, 1.0, 0.5, 0.0, 0.0, 0.0), before=[(0.0, 1.0)] * 4)
def test_impression_and_click_sum_to_the_joined_sample_while_the_weight_is_held(
    rates: Rates, before: list[tuple[float, float]]
) -> None:
    joined, apart = fresh(rates), fresh(rates)
    for impressions, clicks in before:
        learn(joined, impressions, clicks)
        learn(apart, impressions, clicks)
    held = apart.w.copy()
    p = learn(joined, 1.0, 1.0)
    assert learn(apart, 1.0, 0.0) == p
    apart.w[:] = held
    assert learn(apart, 0.0, 1.0) == p
    # z moves by (root of n after - root of n before) / alpha x w: rounding is relative to those terms.
    # Where p is nearly 1 the click takes almost all of n back: what rounding leaves of it has a large root.
    per_root = float(np.abs(held).max()) / min(rates.alpha_main, rates.alpha_cross)
    moved = float(np.sqrt(joined.n).max()) * per_root
    left = float((np.sqrt(joined.n + 1e-15) - np.sqrt(joined.n)).max()) * per_root
    assert apart.z == pytest.approx(joined.z, rel=1e-12, abs=1e-12 * max(1.0, moved) + left)
    assert apart.n == pytest.approx(joined.n, rel=1e-12, abs=1e-12)


def test_a_weight_that_falls_back_under_l1_is_zero_again() -> None:
    rates = Rates(l1_main=0.5, l1_cross=0.5)
    model = fresh(rates)
    learn(model, 0.0, 1.0)
    assert (model.w > 0.0).all()
    cells = (model.cells, MAIN_COUNT, CELL_COUNT)
    back = -float(model.z[0])
    for _ in range(60):
        ftrl.step(model.z, model.n, model.w, *cells, back / 60, 0.0, model.hyper)
    assert abs(model.z).max() < 0.5
    assert (model.w == 0.0).all()


@pytest.mark.parametrize("cell_count", [1, CELL_COUNT])
def test_an_aggregated_sample_ends_at_its_own_rate(cell_count: int) -> None:
    """MISSION.md's ad A: 100,000 impressions, 1,500 clicks, on a fresh model that starts at 1 %."""
    model = fresh(Rates())
    sums = (model.z, model.n, model.w, model.cells, min(cell_count, MAIN_COUNT), cell_count, PRIOR_LOGIT)
    assert ftrl.learn_large(*sums, 100_000.0, 1_500.0, model.hyper) == pytest.approx(0.01)
    p = ftrl.sigmoid(ftrl.logit_of(model.w, model.cells, cell_count, PRIOR_LOGIT))
    assert round(p, 4) == 0.0150
    # All of it in one step is what the kernel must not do:
    at_once = fresh(Rates())
    learn(at_once, 100_000.0, 1_500.0)
    assert ftrl.sigmoid(ftrl.logit_of(at_once.w, at_once.cells, CELL_COUNT, PRIOR_LOGIT)) > 0.2


@settings(deadline=None, max_examples=60)
@given(
    impressions=st.floats(0.0, 3_000.0),
    clicks=st.floats(0.0, 300.0),
    prior_logit=st.floats(-40.0, 40.0),
    rates=RATES,
)
def test_large_samples_end_and_stay_sound(
    impressions: float, clicks: float, prior_logit: float, rates: Rates
) -> None:
    model = fresh(rates)
    shown = max(impressions, clicks)
    p = ftrl.learn_large(
        model.z,
        model.n,
        model.w,
        model.cells,
        MAIN_COUNT,
        CELL_COUNT,
        prior_logit,
        shown,
        clicks,
        model.hyper,
    )
    assert 0.0 <= p <= 1.0
    model.check(rates)


#   rows          columns    main only from   main cells            crosses          why
CELLS = [
    ([0],         [0],       NO_MAIN_ONLY,    [0],                  [],              "the bias alone"),
    ([0, 2],      [0, 3],    NO_MAIN_ONLY,    [0, 3, 20],           [23],            "main first"),
    ([0, 2, 9],   [0, 3],    9,               [0, 3, 20, 90],       [23],            "row 9: column 0 alone"),
    ([0, 2, 9],   [0, 3],    1,               [0, 3, 20, 90],       [],              "main cells alone"),
    ([2, 4],      [3],       NO_MAIN_ONLY,    [],                   [23, 43],        "no row 0, no column 0"),
    ([2, 9],      [3],       9,               [],                   [23],            "row 9 meets nothing"),
    ([],          [0],       NO_MAIN_ONLY,    [],                   [],              "no row"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "columns", "main_only_from", "main", "crosses", "why"), CELLS)
@pytest.mark.parametrize("dtype", [np.int32, np.uint16])
def test_cells_where_rows_meet_columns(
    rows: list[int], columns: list[int], main_only_from: int, main: list[int], crosses: list[int], why: str,
    dtype: type,
) -> None:  # fmt: skip
    out = np.full(20, -1, np.int64)
    found = ftrl.cells_of(np.array(rows, dtype), np.array(columns, dtype), 10, main_only_from, out)
    assert found == (len(main), len(main) + len(crosses)), why
    assert out[: found[1]].tolist() == main + crosses, why


def test_cells_need_room() -> None:
    lit = np.arange(3, dtype=np.int32)
    with pytest.raises(ValueError, match="shorter"):
        ftrl.cells_of(lit, lit, 10, NO_MAIN_ONLY, np.empty(8, np.int64))


def test_cells_of_high_rows_do_not_overflow() -> None:
    out = np.empty(1, np.int64)
    ftrl.cells_of(np.array([65_535], np.uint16), np.array([1], np.uint16), 2**20, NO_MAIN_ONLY, out)
    assert out[0] == 65_535 * 2**20 + 1


def test_derived_weights_are_those_of_the_steps_bit_for_bit() -> None:
    random = np.random.default_rng(3)
    rates = Rates(l1_main=0.3, l1_cross=0.1)
    z, n, w = np.zeros((20, 30)), np.zeros((20, 30)), np.zeros((20, 30), np.float32)
    rows = np.sort(random.integers(0, 20, (2_000, 1)), axis=1).astype(np.int32)
    columns = random.integers(0, 30, (2_000, 1)).astype(np.int32)
    clicks = (random.random(2_000) < 0.3).astype(np.float64)
    ftrl.learn_log(
        z.reshape(-1), n.reshape(-1), w.reshape(-1), rows, columns, 30, NO_MAIN_ONLY, np.ones(2_000),
        clicks, -1.0, rates.array(), np.empty(2_000),
    )  # fmt: skip
    assert (w == 0.0).any()
    assert (w != 0.0).sum() > 300
    derived = np.full_like(w, np.nan)
    ftrl.derive_weights(z[:7], n[:7], derived[:7], 0, 0, rates.array())
    ftrl.derive_weights(z[7:, :11], n[7:, :11], derived[7:, :11], 7, 0, rates.array())
    ftrl.derive_weights(z[7:, 11:], n[7:, 11:], derived[7:, 11:], 7, 11, rates.array())
    assert derived.tobytes() == w.tobytes()


def test_a_log_learned_at_once_is_its_samples_learned_in_turn() -> None:
    random = np.random.default_rng(4)
    rows = np.concatenate([np.zeros((300, 1)), random.integers(1, 9, (300, 2))], axis=1).astype(np.int32)
    rows[:, 2] += 9  # no row twice in a sample
    columns = np.concatenate([np.zeros((300, 1)), random.integers(1, 9, (300, 1))], axis=1).astype(np.int32)
    impressions = random.integers(1, 30, 300).astype(np.float64)
    clicks = np.floor(impressions * random.random(300) * 0.2)
    hyper = Rates().array()
    logged, single = [(np.zeros(180), np.zeros(180), np.zeros(180, np.float32)) for _ in range(2)]
    out, cells = np.empty(300), np.empty(6, np.int64)
    ftrl.learn_log(*logged, rows, columns, 10, NO_MAIN_ONLY, impressions, clicks, -3.0, hyper, out)
    for k in range(300):
        main, total = ftrl.cells_of(rows[k], columns[k], 10, NO_MAIN_ONLY, cells)
        p = ftrl.learn_large(*single, cells, main, total, -3.0, impressions[k], clicks[k], hyper)
        assert p == out[k]
    assert b"".join(part.tobytes() for part in logged) == b"".join(part.tobytes() for part in single)


@pytest.mark.parametrize("logit", [-1e308, -800.0, -1.0, 0.0, 1.0, 800.0, 1e308])
def test_sigmoid_at_both_ends(logit: float) -> None:
    expected = 0.0 if logit < -700 else 1.0 if logit > 700 else 1.0 / (1.0 + math.exp(-logit))
    assert ftrl.sigmoid(logit) == pytest.approx(expected, rel=1e-15)


def test_a_certain_model_that_errs_recovers() -> None:
    """p is 0 to the last bit, yet the click teaches: nothing here divides by p."""
    model = fresh(Rates())
    for _ in range(200):
        ftrl.learn(
            model.z, model.n, model.w, model.cells, MAIN_COUNT, CELL_COUNT, -800.0, 1.0, 1.0, model.hyper
        )
    assert (model.w > 0.0).all()
    model.check(Rates())


def test_after_warm_nothing_compiles_in_a_node() -> None:
    """A compile on the loop would stall every request for half a second."""
    ftrl.warm()
    names = ("cells_of", "learn", "sums_of", "unlearn", "step", "derive_weights", "logit_of", "sigmoid")
    before = [len(getattr(ftrl, name).signatures) for name in names]
    assert min(before) >= 1
    z, n, w = np.zeros((4, 8)), np.zeros((4, 8)), np.zeros((4, 8), np.float32)
    rows, columns = np.frombuffer(b"\0\0\1\0", "<u2"), np.frombuffer(b"\0\0\3\0", "<u2")
    cells, hyper = np.empty(16, np.int64), Rates().array()
    sums = (z.reshape(-1), n.reshape(-1), w.reshape(-1))
    main, total = ftrl.cells_of(rows, columns, 8, 4_000, cells)
    p = ftrl.learn(*sums, cells, main, total, PRIOR_LOGIT, 1.0, 0.0, hyper)
    gradient, advance = ftrl.sums_of(p, 1.0, 0.0)
    ftrl.step(*sums, cells, main, total, gradient, advance, hyper)
    ftrl.unlearn(*sums, cells, main, total, gradient, advance, hyper)
    ftrl.derive_weights(z[1:2], n[1:2], w[1:2], 1, 0, hyper)
    ftrl.sigmoid(ftrl.logit_of(sums[2], cells, total, PRIOR_LOGIT))
    assert [len(getattr(ftrl, name).signatures) for name in names] == before
