"""Floor 2, arithmetic and judgement: pure functions over arrays and values. No I/O, no clock, no chance."""
