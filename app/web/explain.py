"""`explain: true` on the admin port: the decision's workings in words, money as decimals."""

from __future__ import annotations

from typing import Any

import msgspec

from app.domain.decisions import Choice
from app.domain.ids import EVENT_BYTES
from app.domain.requests import AdRequest
from app.flows.node import Node
from app.flows.serve import preview_of
from app.state.explain import Candidate, Explained, Explainer, Slot
from app.web.ads import money
