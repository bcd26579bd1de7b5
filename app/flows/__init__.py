"""Floor 4, the order of steps: serve, take feedback, follow the journal, tick, snapshot, trace, report."""
