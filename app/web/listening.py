"""The sockets that a node listens on: bound by itself, or held by a supervisor and handed over.

A supervisor that keeps the sockets open (systemd's socket units) makes restarts lossless: while no node
listens, callers wait in the kernel's queue.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, MutableMapping
from ipaddress import ip_address

from app.domain.refusals import Refused

FIRST_FD = 3  # sd_listen_fds(3)
NAMES = ("public", "admin")


def handed_over(environment: MutableMapping[str, str], process_id: int) -> dict[str, socket.socket]:
    """Take over the sockets that a supervisor holds for this process, by name.

    Names are those of LISTEN_FDNAMES (`public`, `admin`), else they are given in that order. The variables
    are taken out, so that no worker takes them for its own.
    Errors  Refused("sockets") when they are not what a node listens on.
    Source  sd_listen_fds(3).

    >>> handed_over({"LISTEN_PID": "1", "LISTEN_FDS": "2"}, 2)
    {}
    """
    told = {name: environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if told["LISTEN_PID"] != str(process_id) or not told["LISTEN_FDS"].isdigit():
        return {}
    count = int(told["LISTEN_FDS"])
    named = told["LISTEN_FDNAMES"].split(":")
    names = named if len(named) == count and set(named) <= set(NAMES) else list(NAMES[:count])
    if not count or len(set(names)) != count:
        raise Refused(
            "sockets", f"{count} sockets named {named} were handed over: public and admin are known"
        )
    return {name: _taken(FIRST_FD + at, name) for at, name in enumerate(names)}


def _taken(descriptor: int, name: str) -> socket.socket:
    os.set_inheritable(descriptor, False)
    try:
        taken = socket.socket(fileno=descriptor)
        listens = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise Refused("sockets", f"the {name} socket cannot be used: {error.strerror}") from error
    if not listens or taken.family not in {socket.AF_INET, socket.AF_INET6}:
        raise Refused("sockets", f"the {name} socket is no listening TCP socket")
    return taken


@contextlib.contextmanager
def bound(host: str, port: int, handed: socket.socket | None = None) -> Iterator[socket.socket]:
    """Bind a listening address, or take the socket that was handed over in its place.

    Errors  Refused("port_taken").
    """
    if handed is not None:
        with handed:
            yield handed
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise Refused("port_taken", f"{host}:{port}: {error.strerror}") from error
        yield listening


def url_of(host: str, listening: socket.socket) -> str:
    """Write the URL of a listener; one on all addresses is named by loopback."""
    port = listening.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a host's listeners."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
