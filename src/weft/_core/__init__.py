"""The compiled engine: what everything else in weft is built on."""
