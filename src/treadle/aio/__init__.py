"""asyncio beside greenlets."""
