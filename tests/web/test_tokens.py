"""Tokens: nobody can forge, change, cut or confuse one, and a genuine one works for its kind's life.

Method: one known ad, every single change of its token's text; laws over random ads by hypothesis.
"""

from __future__ import annotations

import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.decisions import ServedAd
from app.domain.ids import DAY_MS
from app.domain.refusals import Refused
from app.rules.invalid_traffic import DOOR_REASONS
from app.web.links import Links
from app.web.tokens import AHEAD_MS, KINDS, TokenExpired, Tokens

OLD, NEW = b"o" * 32, b"n" * 32
DAY_S = 86_400
LIVES_S = dict.fromkeys(KINDS, DAY_S) | {"conversion": 30 * DAY_S}
ISSUED_MS = 20_000 * DAY_MS + 12 * 3_600_000
AD = ServedAd(
    decision_id=bytes(range(15)),
    ad_index=3,
    creative_id="cr-1",
    creative_index=4_711,
    generation=2,
    placement_id="plc-1",
    publisher_id="pub-1",
    rows=bytes(range(32)),
    columns=bytes(range(12)),
    schema_version=1,
    price_micros=1_764_705_883,
    price_kind="cpc",
    pctr=0.1 + 0.2,
    variant=1,
    issued_at_ms=ISSUED_MS,
)
ALPHABET = string.ascii_letters + string.digits + "-_"


def make(*masters: bytes, random: bytes = b"process1") -> Tokens:
    return Tokens(masters or (NEW,), LIVES_S, random)


def to_bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def to_text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def code_of(tokens: Tokens, token: str, kind: str, now_ms: int = ISSUED_MS) -> str:
    with pytest.raises(Refused) as refusal:
        tokens.open(token, kind, now_ms)
    return refusal.value.code


@pytest.mark.parametrize("flaw", DOOR_REASONS)
@pytest.mark.parametrize("deal", ["", "d-1"])
def test_a_token_carries_what_was_wrong_with_whoever_asked(deal: str, flaw: str) -> None:
    tokens = make()
    ad = msgspec.structs.replace(AD, deal_id=deal, flaw=flaw)
    assert tokens.open(tokens.token(tokens.seal(ad), "click"), "click", ISSUED_MS) == ad


@pytest.mark.parametrize("user", [b"", b"u" * 12])
@pytest.mark.parametrize("deal", ["d", "거래-1", "d" * 128])
def test_a_token_carries_the_deal_that_its_ad_was_sold_by(user: bytes, deal: str) -> None:
    tokens = make()
    ad = msgspec.structs.replace(AD, user=user, former_user=user, deal_id=deal)
    assert tokens.open(tokens.token(tokens.seal(ad), "click"), "click", ISSUED_MS) == ad


@pytest.mark.parametrize(("user", "former"), [(b"", b""), (b"u" * 12, b""), (b"u" * 12, b"f" * 12)])
def test_a_token_carries_whom_its_ad_was_served_to(user: bytes, former: bytes) -> None:
    tokens = make()
    ad = msgspec.structs.replace(AD, user=user, former_user=former)
    text = tokens.token(tokens.seal(ad), "click")
    assert tokens.open(text, "click", ISSUED_MS) == ad
    assert tokens.reseal(text) == tokens.reseal(text)


def test_every_changed_character_is_forged() -> None:
    tokens = make()
    text = tokens.token(tokens.seal(AD), "click")
    for place, letter in enumerate(text):
        # All 63 other letters where it is cheap to be sure (both ends), a few in the middle.
        others = ALPHABET if place < 6 or place > len(text) - 4 else "AZaz09-_"
        for other in others:
            if other != letter:
                assert code_of(tokens, text[:place] + other + text[place + 1 :], "click") == "forged"


def test_every_changed_byte_is_forged() -> None:
    tokens = make()
    data = to_bytes(tokens.token(tokens.seal(AD), "click"))
    for place in range(len(data)):
        for bit in (0x01, 0x80):
            changed = data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]
            assert code_of(tokens, to_text(changed), "click") == "forged"


def test_every_truncation_and_extension_is_forged() -> None:
    tokens = make()
    text = tokens.token(tokens.seal(AD), "click")
    for length in range(len(text)):
        assert code_of(tokens, text[:length], "click") == "forged"
        assert code_of(tokens, text[length + 1 :], "click") == "forged"
    for tail in ("A", "=", "==", "AAAA", "\n", " ", "é", "%20"):
        assert code_of(tokens, text + tail, "click") == "forged"


@pytest.mark.parametrize("text", ["", "x", "ü" * 223, "A" * 223, "-" * 224, "\x00" * 223, "A" * 100_000])
def test_what_is_no_token_is_forged(text: str) -> None:
    assert code_of(make(), text, "click") == "forged"


@pytest.mark.parametrize("length", [4, 5, 6])
def test_no_two_texts_are_one_token(length: int) -> None:
    """Whatever the ad's length, no bits are left over at the end, and no other spelling is ours."""
    tokens = make()
    ad = msgspec.structs.replace(AD, creative_id="c" * length)
    text = tokens.token(tokens.seal(ad), "click")
    assert tokens.open(text, "click", ISSUED_MS) == ad
    assert len(text) % 4 == 0
    for last in ALPHABET.replace(text[-1], ""):
        assert code_of(tokens, text[:-1] + last, "click") == "forged"
    spaced = [text[:place] + space + text[place:] for place in (1, 4, 100) for space in " \n=+/"]
    for other in (text.replace("-", "+").replace("_", "/"), *spaced):
        assert other != text
        assert code_of(tokens, other, "click") == "forged"


@pytest.mark.parametrize("length", [4, 5, 6])
def test_the_tokens_of_one_seal_differ_in_their_tags_alone(length: int) -> None:
    tokens = make()
    sealed = tokens.seal(msgspec.structs.replace(AD, creative_id="c" * length))
    texts = tokens.texts(sealed)
    assert list(texts) == list(KINDS)
    assert len(sealed) % 3 == 0
    assert {text[:-12] for text in texts.values()} == {to_text(sealed)}
    assert len({text[-12:] for text in texts.values()}) == len(KINDS)
    assert texts == {kind: tokens.token(sealed, kind) for kind in KINDS}


def test_a_tag_of_one_kind_moved_to_another_seal_is_forged() -> None:
    tokens = make()
    one, other = (tokens.texts(tokens.seal(AD)) for _ in range(2))
    for kind in KINDS:
        assert code_of(tokens, one[kind][:-12] + other[kind][-12:], kind) == "forged"


@pytest.mark.parametrize("made", KINDS)
@pytest.mark.parametrize("asked", KINDS)
def test_a_token_opens_as_its_own_kind_alone(made: str, asked: str) -> None:
    tokens = make()
    text = tokens.token(tokens.seal(AD), made)
    if made == asked:
        assert tokens.open(text, asked, ISSUED_MS) == AD
    else:
        assert code_of(tokens, text, asked) == "wrong_kind"


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_lives_to_the_millisecond(kind: str) -> None:
    tokens = make()
    text = tokens.token(tokens.seal(AD), kind)
    last_ms = ISSUED_MS + LIVES_S[kind] * 1000
    assert tokens.open(text, kind, last_ms) == AD
    with pytest.raises(TokenExpired) as refusal:
        tokens.open(text, kind, last_ms + 1)
    assert (refusal.value.code, refusal.value.ad) == ("expired", AD)
    with pytest.raises(TokenExpired):
        make().open(text, kind, ISSUED_MS + 4_000 * DAY_MS)


def test_a_token_of_the_future_is_forged() -> None:
    tokens = make()
    text = tokens.token(tokens.seal(AD), "click")
    assert tokens.open(text, "click", ISSUED_MS - AHEAD_MS) == AD
    assert code_of(tokens, text, "click", ISSUED_MS - AHEAD_MS - 1) == "forged"
    assert code_of(tokens, text, "click", ISSUED_MS - 2 * DAY_MS) == "forged"


def test_rotation_keeps_what_is_out_alive() -> None:
    #    sealed by      opened by          answer
    table = [
        ((OLD,),        (NEW, OLD),        "ok"),
        ((NEW, OLD),    (NEW,),            "ok"),
        ((NEW, OLD),    (OLD,),            "forged"),
        ((OLD,),        (NEW,),            "forged"),
        ((OLD,),        (b"x" * 32, OLD),  "ok"),
    ]  # fmt: skip
    for sealed_by, opened_by, answer in table:
        maker = make(*sealed_by)
        text = maker.token(maker.seal(AD), "click")
        if answer == "ok":
            assert make(*opened_by).open(text, "click", ISSUED_MS) == AD
            assert code_of(make(*opened_by), text, "impression") == "wrong_kind"
        else:
            assert code_of(make(*opened_by), text, "click") == answer


def test_a_new_day_has_a_new_key_and_yesterdays_still_opens() -> None:
    tokens = make()
    yesterday = tokens.token(tokens.seal(AD), "conversion")
    later = msgspec.structs.replace(AD, issued_at_ms=ISSUED_MS + DAY_MS)
    today = tokens.token(tokens.seal(later), "conversion")
    assert tokens.open(yesterday, "conversion", ISSUED_MS + DAY_MS) == AD
    assert tokens.open(today, "conversion", ISSUED_MS + DAY_MS) == later


def test_the_other_kinds_can_be_made_from_an_opened_token() -> None:
    old = make(OLD)
    click = old.token(old.seal(AD), "click")
    for tokens in (make(OLD), make(NEW, OLD)):
        assert tokens.open(click, "click", ISSUED_MS) == AD
        conversion = Links("https://ads.example", tokens).of_token(click).token("conversion")
        assert tokens.open(conversion, "conversion", ISSUED_MS) == AD
    with pytest.raises(Refused):
        make(NEW).reseal(click)


def test_nonces_never_repeat_and_the_prefix_changes_at_the_wrap() -> None:
    drawn = count()
    tokens = Tokens((NEW,), LIVES_S, b"process1", renew=lambda size: next(drawn).to_bytes(size, "big"))
    nonces = {tokens.seal(AD)[3:15] for _ in range(1_000)}
    assert len(nonces) == 1_000
    tokens._counter = 2**32 - 1
    last, first = tokens.seal(AD)[3:15], tokens.seal(AD)[3:15]
    assert last == b"process1" + b"\xff" * 4
    assert first == bytes(8) + bytes(4)
    assert next(drawn) == 1


def test_forgeries_do_not_fill_the_keys_kept() -> None:
    tokens = make()
    data = to_bytes(tokens.token(tokens.seal(AD), "click"))
    kept = len(tokens._keys)
    for day in range(1_000, 1_100):
        forged = data[:1] + day.to_bytes(2, "big") + data[3:]
        assert code_of(tokens, to_text(forged), "click") == "forged"
    assert len(tokens._keys) == kept


def test_urls_hold_the_token_of_their_route() -> None:
    tokens = make()
    links = Links("https://ads.example/", tokens).of(tokens.seal(AD))
    urls = {
        "impression": links.impression_url,
        "click": links.click_url,
        "dismissal": links.dismiss_url,
        "win": links.win_url,
        "loss": links.loss_url,
    }
    assert [url[:22] for url in urls.values()] == [f"https://ads.example/{letter}/" for letter in "icxwl"]
    assert links.billing_url == urls["impression"].replace("/i/", "/b/")
    for kind, url in urls.items():
        assert tokens.open(url.rsplit("/", 1)[1], kind, ISSUED_MS) == AD


names = st.text(max_size=64)
ads = st.builds(
    ServedAd,
    decision_id=st.binary(min_size=15, max_size=15),
    ad_index=st.integers(0, 255),
    creative_id=names,
    creative_index=st.integers(0, 2**32 - 1),
    generation=st.integers(0, 2**32 - 1),
    placement_id=names,
    publisher_id=names,
    rows=st.binary(max_size=80),
    columns=st.binary(max_size=40),
    schema_version=st.integers(0, 2**16 - 1),
    price_micros=st.integers(0, 10**15),
    price_kind=st.sampled_from(["cpm", "cpc", "cpa", "ocpm"]),
    pctr=st.floats(0, 1),
    variant=st.integers(-1, 1_000),
    issued_at_ms=st.integers(0, 60_000 * DAY_MS),
)


@settings(deadline=None)
@given(ad=ads, kind=st.sampled_from(KINDS))
def test_whatever_is_sealed_comes_back_exactly(ad: ServedAd, kind: str) -> None:
    tokens = make()
    sealed = tokens.seal(ad)
    text = tokens.token(sealed, kind)
    assert set(text) <= set(ALPHABET)
    assert tokens.open(text, kind, ad.issued_at_ms) == ad
    assert tokens.reseal(text) == sealed
