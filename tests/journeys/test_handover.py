"""A supervisor holds the sockets, the node restarts under load, and no request is lost.

Method: the test plays the supervisor (sd_listen_fds): it opens both listening sockets once and hands them to
the real command, life after life. Callers keep their connections and ask all the time; every request must be
answered 200, by whichever life. A caller opens a new connection only when the last answer said that its
connection ends, or when a connection that it had not used yet was never taken.

`ADJUDGE_RESTARTS` sets how many restarts, e.g. `ADJUDGE_RESTARTS=20 pytest tests/journeys/test_handover.py`.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections import Counter
from pathlib import Path
from time import monotonic, sleep
from urllib.request import Request, urlopen

import pytest

from tests.journeys.commanded import Commanded

RESTARTS = int(os.environ.get("ADJUDGE_RESTARTS", "3"))
CALLERS = 6
PAUSE_S = 0.004
PATIENCE_S = 60.0
ASKED = json.dumps({"placements": [{"name": "top", "placement_id": "plc-1"}]})


class Callers:
    """Threads that ask for ads without end, each on a connection that it keeps."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.connections = 0
        self.slowest_s = 0.0
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CALLERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def _ask(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stopped.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
                self.connections += 1
            started = monotonic()
            try:
                connection.request("POST", "/v1/ads", ASKED, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection = None
                continue
            self.slowest_s = max(self.slowest_s, monotonic() - started)
            self.statuses[answer.status] += 1
            if answer.will_close:
                connection.close()
                connection = None
            self._stopped.wait(PAUSE_S)


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=512)


@pytest.mark.slow
def test_no_request_is_lost_over_restarts_under_load(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with listening() as public, listening() as admin:
        callers = Callers(public.getsockname()[1])
        node = Commanded(data, (public, admin))
        told = node.ready()
        assert told["public"].endswith(f":{public.getsockname()[1]}")
        assert told["admin"].endswith(f":{admin.getsockname()[1]}")
        callers.start()
        for _ in range(RESTARTS):
            sleep(0.4)
            asked = sum(callers.statuses.values())
            assert node.stop() == 0, "a clean stop"
            assert asked > 0
            node = Commanded(data, (public, admin))
            node.ready()
        sleep(0.4)
        callers.stop()
        assert node.stop() == 0
    assert callers.failures == []
    assert set(callers.statuses) == {200}, callers.statuses
    assert callers.connections >= CALLERS * (RESTARTS + 1), "each life took its own"


@pytest.mark.slow
def test_a_stop_answers_what_is_under_way_and_snapshots(tmp_path: Path) -> None:
    """Readiness goes first; a request whose body is still coming is answered, then its connection ends."""
    node = Commanded(tmp_path / "data")
    told = node.ready()
    port = int(told["public"].rsplit(":", 1)[1])
    late = socket.create_connection(("127.0.0.1", port), timeout=30)
    body = ASKED.encode()
    late.sendall(b"POST /v1/ads HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body[:-1]))
    ready = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    ready.request("GET", "/readyz")
    answer = ready.getresponse()
    assert (answer.status, answer.read()) == (200, b'{"ready":true}')
    node.process.terminate()
    sleep(0.3)
    ready.request("GET", "/readyz")
    answer = ready.getresponse()
    assert (answer.status, json.loads(answer.read())["missing"]) == (503, ["stopping"])
    assert answer.will_close
    late.sendall(body[-1:])
    text = b""
    while some := late.recv(65_536):
        text += some
    assert text.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in text.lower()
    assert node.stop() == 0
    assert list((tmp_path / "data" / "snapshots").glob("*/")), "a stop makes a snapshot"


def test_unfit_sockets_are_refused(tmp_path: Path) -> None:
    with socket.socket() as unbound, socket.socket(socket.AF_UNIX) as strange:
        for one in (unbound, strange):
            node = Commanded(tmp_path / "data", (one,))
            assert node.process.wait(30) == 1
    log = Path(f"{tmp_path / 'data'}.log").read_text()
    assert "no listening TCP socket" in log


def test_the_admin_port_is_known_by_its_name(tmp_path: Path) -> None:
    """Handed the public socket alone, the node binds the admin port itself."""
    with listening() as public:
        node = Commanded(tmp_path / "data", (public,))
        told = node.ready()
        try:
            with urlopen(Request(told["admin"] + "/readyz"), timeout=10) as answer:
                assert answer.status == 200
        finally:
            node.kill()
