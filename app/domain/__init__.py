"""Floor 1, the words: money, ids, catalogue, requests, decisions, lines, refusals. No I/O, clock, chance."""
