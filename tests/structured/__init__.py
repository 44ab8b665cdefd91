"""Scopes and groups: what trio and asyncio test of theirs, and what is treadle's own."""
