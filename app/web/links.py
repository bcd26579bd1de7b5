"""An ad's tracking URLs and tokens, written when the first of them is asked for.

Knows the public URL's shape and nothing of what the routes do.
"""

from __future__ import annotations

from urllib.parse import quote

from app.web.tokens import Tokens

# By route: its path, and the kind of token that it takes.
_ROUTES = {
    "impression": ("/i/", "impression"),
    "billing": ("/b/", "impression"),
    "click": ("/c/", "click"),
    "dismissal": ("/x/", "dismissal"),
    "return": ("/r/", "conversion"),
    "win": ("/w/", "win"),
    "loss": ("/l/", "loss"),
}


class AdLinks:
    """The URLs and tokens of one ad, made of its one seal.

    Cost    about 2 us at the first use, for all kinds; an ad that shows none of them pays nothing.
    """

    __slots__ = ("_links", "_texts", "sealed")

    def __init__(self, links: Links, sealed: bytes) -> None:
        self.sealed = sealed
        self._links = links
        self._texts: dict[str, str] | None = None

    def token(self, kind: str) -> str:
        """Write the ad's token of one kind."""
        if self._texts is None:
            self._texts = self._links.tokens.texts(self.sealed)
        return self._texts[kind]

    def encoded(self, route: str) -> str:
        """Write a URL as a part of another's query. Tokens are of letters that stay as they are."""
        return self._links.encoded_starts[route] + self.token(_ROUTES[route][1])

    @property
    def impression_url(self) -> str:
        """Where a page reports that the ad was shown."""
        return self._links.starts["impression"] + self.token("impression")

    @property
    def billing_url(self) -> str:
        """Where an exchange's server reports it: the same event, by the same token."""
        return self._links.starts["billing"] + self.token("impression")

    @property
    def click_url(self) -> str:
        """Where a click goes, to be counted and sent on."""
        return self._links.starts["click"] + self.token("click")

    @property
    def dismiss_url(self) -> str:
        """Where a person says: not this ad."""
        return self._links.starts["dismissal"] + self.token("dismissal")

    @property
    def return_url(self) -> str:
        """Where a landing page says that the person left it: by its conversion token."""
        return self._links.starts["return"] + self.token("conversion")

    @property
    def win_url(self) -> str:
        """Where an exchange says that the bid won."""
        return self._links.starts["win"] + self.token("win")

    @property
    def loss_url(self) -> str:
        """Where an exchange says that the bid lost, and why."""
        return self._links.starts["loss"] + self.token("loss")


class Links:
    """Makes the links of ads. All start with the configured public URL, never with a Host header."""

    def __init__(self, public_url: str, tokens: Tokens) -> None:
        base = public_url.rstrip("/")
        self.starts = {route: base + path for route, (path, _) in _ROUTES.items()}
        self.encoded_starts = {route: quote(start, safe="") for route, start in self.starts.items()}
        self.tokens = tokens

    def of(self, sealed: bytes) -> AdLinks:
        """Make the links of an ad from its seal."""
        return AdLinks(self, sealed)

    def of_token(self, token: str) -> AdLinks:
        """Make the links of an ad from one of its tokens, which must have been opened before.

        Errors  Refused("forged") when it is not one of ours.
        """
        return self.of(self.tokens.reseal(token))
