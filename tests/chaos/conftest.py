"""What pytest collects here."""

import os

# A run takes a minute; .ci/run and .ci/nightly have steps of their own for it.
collect_ignore = [] if os.environ.get("TREADLE_CHAOS") == "1" else ["test_chaos.py"]
