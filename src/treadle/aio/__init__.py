"""Support for asyncio in greenlets."""
