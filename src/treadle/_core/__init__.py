"""The compiled engine: what everything else in treadle is built on."""

__version__ = "0.1.0"

from treadle._core import ending as ending
from treadle._core import native as native  # now, as the thread module may be patched later

# A free-threaded interpreter takes the GIL for the first compiled module, for good, and warns. If
# warnings are errors, this import fails. The interpreter warns only once, so the next one succeeds.
try:
    from treadle._core import clock as clock
except RuntimeWarning:
    from treadle._core import clock as clock
