"""Which tests of this folder are run."""

import os

# The table is run alone, with TREADLE_PARKS=1: a cell in which a hub ends leaves calls of native
# threads that last, and the clocks of other tests wait for those.
collect_ignore = [] if os.environ.get("TREADLE_PARKS") == "1" else ["test_parks.py"]
