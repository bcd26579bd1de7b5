"""The console: pages for people, served by the node itself at the admin port under `/console`.

`app` puts it together, `guard` stands before every page, `frame` renders, `pages` lists what there is; each
other file is one page. Pages ask flows and state for values and decide nothing; they need no CDN, no inline
script or style, and work without JavaScript.
"""

from app.web.console.app import console_app

__all__ = ["console_app"]
