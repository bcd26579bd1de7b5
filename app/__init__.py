"""Adjudge: an ad server's brain. The rooms and their floors are described in README.md."""

__version__ = "0.1.0"
