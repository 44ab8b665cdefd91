"""How programs end."""
