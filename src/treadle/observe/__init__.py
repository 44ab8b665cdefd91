"""Looks at a running program: who waits for what, who spawned whom, who keeps others waiting."""
