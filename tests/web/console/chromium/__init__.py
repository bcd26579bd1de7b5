"""The console in a real browser: Debian's Chromium, driven by Playwright, over a demo node with live traffic.

Pages are found by following the console's own links, so that a new one is tried as soon as it is linked.
Pictures of every page are left under `artifacts/console/`.
"""
