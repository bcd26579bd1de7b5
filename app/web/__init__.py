"""Floor 5, the doors: bytes <-> words, refusals <-> statuses. What is decided is decided further in."""
