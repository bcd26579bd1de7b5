"""A Locust scenario for any node: an ad request, its impressions, now and then a click, by the answer's URLs.

    pip install 'adjudge[load]'
    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000
    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000 --headless -u 20 -r 5 -t 60s

The placements that are asked for come from the environment, comma-separated: `PLACEMENTS=plc-0,plc-1` (the
default are those of the sample catalogue of `adjudge demo`). A node bound to more than loopback wants a
partner's key: `API_KEY`. Impressions and clicks are real ones to the node: they charge and they teach. Point
it at a node whose money does not matter.
"""

from __future__ import annotations

import os
from random import choice, randint, random, sample
from typing import Any
from urllib.parse import urlsplit

from locust import FastHttpUser, between, task

PLACEMENTS = os.environ.get("PLACEMENTS", ",".join(f"plc-{n}" for n in range(60))).split(",")
KEY = {"X-API-Key": os.environ["API_KEY"]} if "API_KEY" in os.environ else {}
CLICK_SHARE = 0.02
INTERESTS = ("travel", "food", "games", "beauty", "sports", "finance", "cars", "books")


class Visitor(FastHttpUser):
    """One person after another opens a page."""

    wait_time = between(0.05, 0.5)

    @task
    def visit(self) -> None:
        """See a page: ask for its ad, report what was shown, sometimes click."""
        with self.client.post("/v1/ads", json=page(), headers=KEY, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code} {answer.text}")
                return
            decisions: dict[str, list[dict[str, Any]]] = answer.json()["decisions"]
        for ads in decisions.values():
            for ad in ads:
                self._look(ad)

    def _look(self, ad: dict[str, Any]) -> None:
        self.client.get(_on_host(ad["impression_url"]), name="/i/{token}")
        if random() < CLICK_SHARE:
            with self.client.get(
                _on_host(ad["click_url"]), name="/c/{token}", allow_redirects=False, catch_response=True
            ) as answer:
                if answer.status_code == 302:
                    answer.success()
                else:
                    answer.failure(f"a click was answered {answer.status_code}")


def page() -> dict[str, Any]:
    """Write an ad request of somebody on one of the placements."""
    system = choice(("android", "ios", "windows"))
    return {
        "request_id": f"locust-{randint(0, 2**40):x}",
        "placements": [{"name": "slot", "placement_id": choice(PLACEMENTS)}],
        "user": {
            "id": f"u-{randint(0, 20_000)}", "gender": choice("FM"), "age": randint(14, 79),
            "region": choice(("KR-11", "KR-26", "KR-41", "KR-28")), "interests": sample(INTERESTS, 2),
        },
        "context": {"device": "desktop" if system == "windows" else "mobile", "os": system},
    }  # fmt: skip


def _on_host(url: str) -> str:
    """Cut a URL to path and query: tracking URLs name the node's public address, the load goes to --host."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
