"""A small file in MaxMind's format, for tests of regions: just enough of a writer.

Source  MaxMind DB File Format Specification 2.0: a binary tree over the bits of addresses, whose leaves point
into a section of typed values, and metadata behind a marker.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

_EMPTY: Any = None
_KINDS = {"node_count": 6, "build_epoch": 9}  # numbers of metadata: readers are strict about their types


def write_mmdb(path: Path, records: dict[str, Any]) -> Path:
    """Write IPv4 networks with a record each; records of 24 bits, networks that do not overlap."""
    nodes: list[list[Any]] = [[_EMPTY, _EMPTY]]
    for text, record in records.items():
        network = ip_network(text)
        bits = f"{int(network.network_address):032b}"[: network.prefixlen]
        at = 0
        for bit in bits[:-1]:
            if nodes[at][int(bit)] is _EMPTY:
                nodes.append([_EMPTY, _EMPTY])
                nodes[at][int(bit)] = len(nodes) - 1
            at = nodes[at][int(bit)]
        nodes[at][int(bits[-1])] = ("data", record)
    data, tree = b"", b""
    for pair in nodes:
        for child in pair:
            value = child if isinstance(child, int) else len(nodes)
            if isinstance(child, tuple):
                value = len(nodes) + 16 + len(data)
                data += _value(child[1])
            tree += value.to_bytes(3, "big")
    metadata = {
        "node_count": len(nodes), "record_size": 24, "ip_version": 4, "database_type": "Test-City",
        "binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": 1_700_000_000,
        "languages": ["en"], "description": {"en": "of a test"},
    }  # fmt: skip
    path.write_bytes(tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + _metadata(metadata))
    return path


def _metadata(facts: dict[str, Any]) -> bytes:
    body = b""
    for key, fact in facts.items():
        body += _value(key) + (_number(_KINDS.get(key, 5), fact) if isinstance(fact, int) else _value(fact))
    return _head(7, len(facts)) + body


def _value(value: Any) -> bytes:
    match value:
        case str():
            body = value.encode()
            return _head(2, len(body)) + body
        case dict():
            return _head(7, len(value)) + b"".join(_value(key) + _value(each) for key, each in value.items())
        case list():
            return _head(11, len(value)) + b"".join(map(_value, value))
        case _:
            raise TypeError(type(value))


def _number(kind: int, value: int) -> bytes:
    body = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return _head(kind, len(body)) + body


def _head(kind: int, size: int) -> bytes:
    small, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    if kind > 7:
        return bytes([small, kind - 7]) + more
    return bytes([kind << 5 | small]) + more
