"""What fades. Goal: everything goes in its hour, whatever was told again or moved; restored or not.

Method: random doings against a plain dict of (hour, value), with a twin restored from a copy midway.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.state.fading import Fading

keys = st.sampled_from([b"a", b"b", b"c", b"d"])
doings = st.lists(st.tuples(st.sampled_from(["put", "pop", "expire", "copy"]), keys, st.integers(0, 3)))


@given(doings, st.integers(1, 3))
def test_it_is_a_dict_that_forgets(todo: list[tuple[str, bytes, int]], limit: int) -> None:
    fading, twin = Fading(), Fading()
    plain: dict[bytes, tuple[int, bytes]] = {}
    hour = 10
    for number, (what, key, step) in enumerate(todo):
        value = str(number).encode()
        match what:
            case "put":
                hour += step
                for each in (fading, twin):
                    each.put(key, hour, value)
                plain[key] = hour, value
            case "pop":
                told = plain.pop(key, (0, None))[1]
                assert (fading.pop(key), twin.pop(key)) == (told, told)
            case "expire":
                before = hour - 2
                old = sorted((told[0], key) for key, told in plain.items() if told[0] < before)
                gone = fading.expire(before, limit)
                assert gone == [key for _, key in old[:limit]]
                assert twin.expire(before, limit) == gone
                for each_key in gone:
                    del plain[each_key]
            case _:
                twin = Fading()
                twin.restore(fading.parts())
        assert {key: (fading.hour_of(key), fading.get(key)) for key in plain} == plain
        assert len(fading) == len(plain)
        assert twin.parts() == fading.parts()
        fading.check()
        twin.check()
