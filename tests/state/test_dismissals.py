"""The memory of dismissals against a plain list: same answers, bounded, nothing left of who is forgotten."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.domain.requests import Person
from app.state.dismissals import ADVERTISER, CREATIVE, PER_USER, Dismissals

CAPACITY = 16
users = st.integers(0, 4).map(lambda n: bytes([n]) * 12)
steps = st.one_of(
    st.tuples(st.just("add"), users, st.sampled_from([CREATIVE, ADVERTISER]), st.integers(0, 9)),
    st.tuples(st.just("rekey"), users, users),
    st.tuples(st.just("forget"), users),
    st.tuples(st.just("expire"), st.integers(0, 30)),
    st.tuples(st.just("restart")),
)


@given(st.lists(steps, max_size=60))
def test_it_answers_as_a_plain_list_would(todo: list[tuple[Any, ...]]) -> None:
    memory = Dismissals(CAPACITY)
    plain: list[tuple[bytes, int, int, int] | None] = []  # None: forgotten before its time
    for second, step in enumerate(todo):
        match step:
            case ("add", user, kind, index):
                if len(plain) == CAPACITY:
                    plain.pop(0)
                memory.add(user, kind, index, 0, second * 1000)
                plain.append((user, kind, index, second))
            case ("rekey", former, user):
                memory.rekey(former, user)
                plain = [one if one is None or one[0] != former else (user, *one[1:]) for one in plain]
            case ("forget", user):
                memory.forget(user)
                plain = [None if one is not None and one[0] == user else one for one in plain]
            case ("expire", age):
                memory.expire((second - age) * 1000)
                while plain and (plain[0] is None or plain[0][3] < second - age):
                    plain.pop(0)
            case _:
                part, first = memory.parts(), memory.first
                memory = Dismissals(CAPACITY)
                memory.restore(part, first)
        memory.check()
        for number in range(5):
            user = bytes([number]) * 12
            away = memory.away(Person(key=user))
            mine = [one for one in plain if one is not None and one[0] == user]
            assert away.creatives == [(one[2], 0) for one in mine if one[1] == CREATIVE]
            assert away.advertisers == [one[2] for one in mine if one[1] == ADVERTISER]


def test_nobody_fills_it_alone() -> None:
    memory = Dismissals(1_000)
    for index in range(200):
        memory.add(bytes(12), CREATIVE, index, 0, index)
    assert [at for at, _ in memory.away(Person(key=bytes(12))).creatives] == [*range(200 - PER_USER, 200)]
    memory.check()


def test_nothing_is_left_of_who_is_forgotten() -> None:
    memory = Dismissals(1_000)
    for index in range(20):
        memory.add(b"anna-key-012", CREATIVE, index, 0, index)
        memory.add(b"bora-key-012", ADVERTISER, index, 0, index)
    memory.forget(b"anna-key-012")
    assert b"anna" not in memory.parts().tobytes()
    assert b"anna" not in memory.ring.tobytes()
    assert len(memory.away(Person(key=b"bora-key-012")).advertisers) == 20
