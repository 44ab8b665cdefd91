"""The compiled engine: what everything else in weft is built on."""

from weft._core import native as native  # now: later it might find the thread module patched
