"""What treadle.selectors takes over from selectors. Written by `python -m conformance.mirrors`."""

from selectors import (
    BaseSelector as BaseSelector,
    EVENT_READ as EVENT_READ,
    EVENT_WRITE as EVENT_WRITE,
    SelectorKey as SelectorKey,
)
