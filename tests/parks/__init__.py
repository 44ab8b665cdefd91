"""The table of park points: every place that waits, crossed with what may happen there."""
