"""Programs whose system calls fail as a script says."""
