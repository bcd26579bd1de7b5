"""Targeting as people write it: per dimension a bare list, or `{include, exclude}`; numbers may be pairs.

The two spellings are told apart by a tag that starts with `~`, which error paths leave out, so that a
path reads `targeting.age[0]` or `targeting.age.include[0]`, as it was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PlainValidator, Tag, WithJsonSchema

from app.domain.catalogue import Rule, Targeting, Term
from app.web.catalogue.fields import Category, Domain, Id, Label, Word, refuse

TermT = TypeVar("TermT")
MAX_TERMS = 10_000
MAX_AUDIENCES = 1_000
# Own key-values: beyond this a float no longer tells whole numbers apart.
_LARGEST_KEY_NUMBER = 2**53


class RuleIn(BaseModel, Generic[TermT]):
    """What a dimension lets in and what it keeps out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include: list[TermT] = Field(default=[], max_length=MAX_TERMS)
    exclude: list[TermT] = Field(default=[], max_length=MAX_TERMS)


def _spelling(sent: object) -> str | None:
    if isinstance(sent, list):
        return "~list"
    return "~rule" if isinstance(sent, dict | RuleIn) else None


_SPELLED = Discriminator(
    _spelling,
    custom_error_type="not_a_list",
    custom_error_message="must be a list, or an object of include and exclude",
)
if TYPE_CHECKING:
    RuleOf = list[TermT] | RuleIn[TermT]
else:

    class RuleOf:
        """A dimension in either spelling. No plain alias: typing would leave the model's variable open."""

        def __class_getitem__(cls, term: Any) -> Any:
            bare = Annotated[list[term], Field(max_length=MAX_TERMS), Tag("~list")]
            return Annotated[bare | Annotated[RuleIn[term], Tag("~rule")], _SPELLED]


def _whole(sent: object, low: int, high: int) -> int:
    if isinstance(sent, bool) or not isinstance(sent, int):
        raise refuse("not_an_integer", "must be a whole number, or a pair of them")
    if not low <= sent <= high:
        raise refuse("out_of_range", f"must lie between {low} and {high}")
    return sent


def _number(sent: object) -> int | float:
    if isinstance(sent, bool) or not isinstance(sent, int | float):
        raise refuse("not_a_number", "must be a string, a number, or a pair of numbers")
    if not -_LARGEST_KEY_NUMBER <= sent <= _LARGEST_KEY_NUMBER:
        raise refuse("out_of_range", "is too large")
    return sent


def _pair(sent: list[object], of: Callable[[object], float], wraps: bool) -> tuple[float, float]:
    if len(sent) != 2:
        raise refuse("not_a_pair", "must be two numbers, the first and the last")
    first, last = of(sent[0]), of(sent[1])
    if first > last and not wraps:
        raise refuse("order", "must name the smaller number first")
    return first, last


def _whole_term(low: int, high: int, wraps: bool = False) -> tuple[PlainValidator, WithJsonSchema]:
    """Describe a whole number between two bounds, or an inclusive pair of them; only hours wrap."""

    def term(sent: object) -> Term:
        def one(value: object) -> int:
            return _whole(value, low, high)

        return _pair(sent, one, wraps) if isinstance(sent, list) else one(sent)

    number = {"type": "integer", "minimum": low, "maximum": high}
    pair = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    return PlainValidator(term), WithJsonSchema({"anyOf": [number, pair]})


def _key_term(sent: object) -> Term:
    if isinstance(sent, str):
        if not 1 <= len(sent) <= 128:
            raise refuse("too_long" if sent else "too_short", "must have 1 to 128 characters")
        return sent
    return _pair(sent, _number, wraps=False) if isinstance(sent, list) else _number(sent)


_BOUNDED = {"type": "number", "minimum": -_LARGEST_KEY_NUMBER, "maximum": _LARGEST_KEY_NUMBER}
_KEY_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 128},
        _BOUNDED,
        {"type": "array", "items": _BOUNDED, "minItems": 2, "maxItems": 2},
    ]
}
Region = Annotated[str, Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$", examples=["KR", "KR-11"])]
Age = Annotated[Term, *_whole_term(0, 150)]
Hour = Annotated[Term, *_whole_term(0, 23, wraps=True)]
Weekday = Annotated[Term, *_whole_term(0, 6)]
KeyTerm = Annotated[Term, PlainValidator(_key_term), WithJsonSchema(_KEY_SCHEMA)]
KeyName = Annotated[str, Field(min_length=1, max_length=64)]


class AudienceRuleIn(RuleIn[Id]):
    """Which audiences are let in and kept out; `exclude_after`: who did that with the campaign's ads, too.

    `boost`: for the people of an audience the bid is so many times as high; several multiply.
    """

    exclude_after: Literal["click", "conversion"] | None = None
    boost: dict[Id, Annotated[float, Field(ge=0.1, le=10)]] = Field(default={}, max_length=100)


def _audience_spelling(sent: object) -> str | None:
    if isinstance(sent, list):
        return "~list"
    return "~rule" if isinstance(sent, dict | AudienceRuleIn) else None


AudienceRule = Annotated[
    Annotated[list[Id], Field(max_length=MAX_AUDIENCES), Tag("~list")]
    | Annotated[AudienceRuleIn, Tag("~rule")],
    Discriminator(
        _audience_spelling,
        custom_error_type="not_a_list",
        custom_error_message="must be a list, or an object of include, exclude and exclude_after",
    ),
]


class TargetingIn(BaseModel):
    """Every dimension an ad group may choose by; an absent or empty one allows everything."""

    model_config = ConfigDict(extra="forbid", strict=True)

    gender: RuleOf[Literal["M", "F", "O"]] = []
    age: RuleOf[Age] = []
    region: RuleOf[Region] = []
    interest: RuleOf[Label] = []
    segment: RuleOf[Label] = []
    audience: AudienceRule = []
    device: RuleOf[Label] = []
    os: RuleOf[Label] = []
    placement: RuleOf[Id] = []
    publisher: RuleOf[Id] = []
    site_category: RuleOf[Category] = []
    hour: RuleOf[Hour] = []
    weekday: RuleOf[Weekday] = []
    deal: RuleOf[Label] = []
    browser: RuleOf[Word] = []
    site: RuleOf[Domain] = []
    app: RuleOf[Word] = []
    keyword: RuleOf[Word] = []
    keys: dict[KeyName, RuleOf[KeyTerm]] = Field(default={}, max_length=64)

    def to_domain(self) -> Targeting:
        """Turn both spellings into rules."""
        rules: dict[str, Any] = {
            name: to_rule(getattr(self, name)) for name in self.model_fields_set - {"keys"}
        }
        keys = {name: to_rule(sent) for name, sent in self.keys.items()}
        if not isinstance(self.audience, AudienceRuleIn):
            return Targeting(**rules, keys=keys)
        after, boost = self.audience.exclude_after or "", tuple(sorted(self.audience.boost.items()))
        return Targeting(**rules, exclude_after=after, boost=boost, keys=keys)


def to_rule(sent: list[Any] | RuleIn[Any]) -> Rule:
    """Turn one dimension, however it was spelled, into a rule.

    >>> to_rule(["KR-11"]).include, to_rule(RuleIn(exclude=["KR-11"])).exclude
    (('KR-11',), ('KR-11',))
    """
    if isinstance(sent, list):
        return Rule(include=tuple(sent))
    return Rule(include=tuple(sent.include), exclude=tuple(sent.exclude))
