"""What an edit changed, in the words of the API's documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from app.flows.edits import Edit
from app.web.catalogue.render import to_document

LONGEST = 60


def changes_of(edit: Edit) -> str:
    """Write an edit as `field: before → after`, one after the other."""
    if edit.before is None:
        return "made" if edit.created else "changed; what was before is not kept any more"
    before, after = (dict(_leaves(to_document(thing))) for thing in (edit.before, edit.after))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return "; ".join(f"{name}: {_told(before.get(name))} → {_told(after.get(name))}" for name in names)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, f"{path}.{name}" if path else name)
    else:
        yield path, value


def _told(value: Any) -> str:
    """Write a value briefly.

    >>> _told(None), _told(["F", 3]), _told(120_000), _told(False), _told("x" * 80)[-3:]
    ('–', '["F",3]', '120,000', 'false', 'xx…')
    """
    if value is None or value in ("", []):
        return "–"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
