"""Floor 3, what we know: the fold of the journal. `apply` writes it, `choose` reads it.

No I/O, no clock, no chance: time, ids and seeds come in with lines and arguments.
"""
