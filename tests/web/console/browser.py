"""A browser that knows nothing of JavaScript: it keeps cookies, reads pages and sends forms."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from urllib.parse import urlencode

from app.web.console.sessions import COOKIE
from tests.node import Answer, Server

KEY = "the-admin-key"
FORM = "application/x-www-form-urlencoded"


@dataclass
class Browser:
    """One person's browser at a served admin port."""

    server: Server
    cookie: str = ""
    csrf: str = ""

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Open a page."""
        return self._ask("GET", path, None, headers or {})

    def text(self, path: str) -> str:
        """Open a page that is there, and read it."""
        answer = self.get(path)
        assert answer.status == 200, (answer.status, answer.body[:2000])
        return answer.body.decode()

    def send(self, path: str, headers: Mapping[str, str] | None = None, **fields: str) -> Answer:
        """Send a form with the session's token, as a page's own form would."""
        return self.post(path, {"csrf": self.csrf, **fields}, headers)

    def post(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        """Send a form as it stands."""
        body = urlencode(fields).encode()
        return self._ask("POST", path, body, {"Content-Type": FORM, **(headers or {})})

    def csv(self, path: str) -> list[list[str]]:
        """Read a table of a page as CSV."""
        answer = self.get(path)
        assert answer.status == 200, (answer.status, answer.body[:2000])
        assert answer.headers["content-type"].startswith("text/csv")
        return list(csv.reader(io.StringIO(answer.body.decode(), newline="")))

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        sent = dict(headers)
        if self.cookie:
            sent["Cookie"] = f"{COOKIE}={self.cookie}"
        answer = self.server.ask(method, path, body, sent)
        given = re.match(rf"{COOKIE}=([^;]*)", answer.headers.get("set-cookie", ""))
        if given:
            self.cookie = given[1]
        token = re.search(rb'name="csrf" value="([0-9a-f]+)"', answer.body)
        if token:
            self.csrf = token[1].decode()
        return answer


def log_in(server: Server, key: str) -> Browser:
    """Log in with a key, and open the first page."""
    browser = Browser(server)
    answer = browser.post("/console/login", {"key": key})
    assert answer.status == 303, answer
    browser.get("/console/logout")  # any page with a form tells the token
    return browser


def key_for(server: Server, *scopes: str, advertisers: list[str] | None = None) -> str:
    """Make a key over the API, and return its text."""
    wanted = {"name": "test", "scopes": list(scopes), "advertiser_ids": advertisers}
    answer = server.ask("POST", "/v1/keys", wanted)
    assert answer.status == 201, answer
    text: str = answer.json()["key"]
    return text


def rows_of(page: str, table_id: str) -> list[list[str]]:
    """Read the cells of a page's table, head first, without their markup."""
    found = re.search(rf'<table id="{re.escape(table_id)}-table">(.*?)</table>', page, flags=re.S)
    assert found, f"no table {table_id}"
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", found[1], flags=re.S)
    return [
        [plain(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.S)] for row in rows
    ]


def plain(markup: str) -> str:
    """Take the tags off a piece of a page."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", markup))).strip()
