"""Which fold made a state. A snapshot names it, since a change of meaning need not change any shape.

Raised whenever the same lines come to another state: `tests/state/test_golden.py` fails until it is, and
`python -m tests.state.test_golden` raises it.

A node whose journal is trimmed has nothing but its snapshots to start from. So a build goes on from states of
earlier folds, from `RESTORED_FROM` on: what they say is kept as it was billed and told, the lines behind them
are folded the new way. Raise that only where an earlier state would be misread, and `State.restore` cannot
read it the old way: who upgrades with a trimmed journal is refused then, and stays with the build before.
"""

STATE_VERSION = 19
RESTORED_FROM = 1
