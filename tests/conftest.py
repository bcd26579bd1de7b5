"""What every test shares: hypothesis without deadlines, since no verdict may hang on a machine's speed.

In CI the examples are the same in every run, so that a red run means a change; elsewhere they are drawn anew,
which is where new cases are found.
"""

import os

os.environ.setdefault("ADJUDGE_INVALID_TRAFFIC", "off")  # tests that start a node are robots, all of them

from hypothesis import settings

settings.register_profile("adjudge", deadline=None, print_blob=True)
settings.register_profile("adjudge-ci", settings.get_profile("adjudge"), derandomize=True, database=None)
settings.load_profile("adjudge-ci" if os.environ.get("CI") == "true" else "adjudge")
