"""An ad's tracking URLs and tokens, written when the first of them is asked for.

Knows the public URL's shape and nothing of what the routes do.
"""

from __future__ import annotations

from app.web.tokens import Tokens

_PATHS = {"impression": "/i/", "click": "/c/", "dismissal": "/x/", "win": "/w/", "loss": "/l/"}


class AdLinks:
    """The URLs and tokens of one ad, made of its one seal.

    Cost    about 2 us at the first use, for all kinds; an ad that shows none of them pays nothing.
    """

    __slots__ = ("_base", "_texts", "_tokens", "sealed")

    def __init__(self, base: str, tokens: Tokens, sealed: bytes) -> None:
        self.sealed = sealed
        self._base = base
        self._tokens = tokens
        self._texts: dict[str, str] | None = None

    def token(self, kind: str) -> str:
        """Write the ad's token of one kind."""
        if self._texts is None:
            self._texts = self._tokens.texts(self.sealed)
        return self._texts[kind]

    @property
    def impression_url(self) -> str:
        """Where a page reports that the ad was shown."""
        return self._base + _PATHS["impression"] + self.token("impression")

    @property
    def billing_url(self) -> str:
        """Where an exchange's server reports it: the same event, by the same token."""
        return self._base + "/b/" + self.token("impression")

    @property
    def click_url(self) -> str:
        """Where a click goes, to be counted and sent on."""
        return self._base + _PATHS["click"] + self.token("click")

    @property
    def dismiss_url(self) -> str:
        """Where a person says: not this ad."""
        return self._base + _PATHS["dismissal"] + self.token("dismissal")

    @property
    def return_url(self) -> str:
        """Where a landing page says that the person left it: by its conversion token."""
        return self._base + "/r/" + self.token("conversion")

    @property
    def win_url(self) -> str:
        """Where an exchange says that the bid won."""
        return self._base + _PATHS["win"] + self.token("win")

    @property
    def loss_url(self) -> str:
        """Where an exchange says that the bid lost, and why."""
        return self._base + _PATHS["loss"] + self.token("loss")


class Links:
    """Makes the links of ads. All start with the configured public URL, never with a Host header."""

    def __init__(self, public_url: str, tokens: Tokens) -> None:
        self._base = public_url.rstrip("/")
        self._tokens = tokens

    def of(self, sealed: bytes) -> AdLinks:
        """Make the links of an ad from its seal."""
        return AdLinks(self._base, self._tokens, sealed)

    def of_token(self, token: str) -> AdLinks:
        """Make the links of an ad from one of its tokens, which must have been opened before.

        Errors  Refused("forged") when it is not one of ours.
        """
        return self.of(self._tokens.reseal(token))
