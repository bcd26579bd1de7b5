"""`GET /v1/memory`. Goal: the cells told are those that have learned, by kind of row."""

from __future__ import annotations

import numpy as np

from app.domain.requests import Person
from tests.node import Server, ask_for, decide, send


def test_cells_are_counted_by_kind_of_row(server: Server) -> None:
    async def on_the_loop() -> int:
        served = decide(server.node, ask_for("plc-1", person=Person(interests=("boat", "golf"))))
        await send(server.node, "impression", served.ads[0])
        return int(np.count_nonzero(server.node.state.model.n))

    cells = server.run(on_the_loop())
    told = server.get("/v1/memory").json()
    kinds = {each["kind"]: each for each in told["kinds"]}
    assert told["cells"] == cells > 0 and told["cell_bytes"] == 20 * cells
    assert kinds["any"]["rows"] == 1 and kinds["any"]["cross_cells"] == 0
    assert kinds["interest"]["rows"] == kinds["interest"]["main_cells"] == 2
    assert sum(each["main_cells"] + each["cross_cells"] for each in told["kinds"]) == cells
    assert "segment" not in kinds and told["rows_pruned"] == 0
