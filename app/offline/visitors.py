"""A Locust scenario for any node: an ad request, its impressions, now and then a click, by the answer's URLs.

`adjudge load` runs it; by hand, after `pip install 'adjudge[load]'`:

    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000

What is asked for comes from the environment: `PLACEMENTS=plc-0,plc-1` (default: those of the sample catalogue
of `adjudge demo`), and a partner's key as `API_KEY`, which a node bound to more than loopback wants.
Impressions and clicks are real ones to the node: they charge and they teach. Not for one whose money matters.
"""

from __future__ import annotations

import os
from random import choice, randint, random, sample
from typing import Any
from urllib.parse import urlsplit

SAMPLE_PLACEMENTS = ",".join(f"plc-{n}" for n in range(60))
CLICK_SHARE = 0.02
INTERESTS = ("travel", "food", "games", "beauty", "sports", "finance", "cars", "books")


def visitor_class() -> type[Any]:
    """Make the class that Locust looks for. Locust takes over sockets and threads as it is imported."""
    from locust import FastHttpUser, between, task

    placements = os.environ.get("PLACEMENTS", SAMPLE_PLACEMENTS).split(",")
    key = {"X-API-Key": os.environ["API_KEY"]} if "API_KEY" in os.environ else {}

    class Visitor(FastHttpUser):
        """One person after another opens a page."""

        wait_time = between(0.05, 0.5)

        @task
        def visit(self) -> None:
            """See a page: ask for its ad, report what was shown, sometimes click."""
            body = page(choice(placements))
            with self.client.post("/v1/ads", json=body, headers=key, catch_response=True) as answer:
                if answer.status_code != 200:
                    answer.failure(f"{answer.status_code} {answer.text}")
                    return
                decisions: dict[str, list[dict[str, Any]]] = answer.json()["decisions"]
            for ads in decisions.values():
                for ad in ads:
                    look(self.client, ad)

    return Visitor


def look(client: Any, ad: dict[str, Any]) -> None:
    """See an ad, and click on it now and then; a click is answered by a redirect, which is not followed."""
    client.get(_on_host(ad["impression_url"]), name="/i/{token}")
    if random() < CLICK_SHARE:
        with client.get(
            _on_host(ad["click_url"]), name="/c/{token}", allow_redirects=False, catch_response=True
        ) as answer:
            if answer.status_code == 302:
                answer.success()
            else:
                answer.failure(f"a click was answered {answer.status_code}")


def page(placement_id: str) -> dict[str, Any]:
    """Write an ad request of somebody on a placement.

    >>> page("plc-1")["placements"]
    [{'name': 'slot', 'placement_id': 'plc-1'}]
    """
    system = choice(("android", "ios", "windows"))
    return {
        "request_id": f"locust-{randint(0, 2**40):x}",
        "placements": [{"name": "slot", "placement_id": placement_id}],
        "user": {
            "id": f"u-{randint(0, 20_000)}", "gender": choice("FM"), "age": randint(14, 79),
            "region": choice(("KR-11", "KR-26", "KR-41", "KR-28")), "interests": sample(INTERESTS, 2),
        },
        "context": {"device": "desktop" if system == "windows" else "mobile", "os": system},
    }  # fmt: skip


def _on_host(url: str) -> str:
    """Cut a URL to path and query: tracking URLs name the node's public address, the load goes to --host.

    >>> _on_host("https://ads.example/i/abc")
    '/i/abc'
    """
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
