"""The compiled engine: what everything else in treadle is built on."""

__version__ = "0.1.0"

from treadle._core import ending as ending
from treadle._core import native as native  # now, as the thread module may be patched later
