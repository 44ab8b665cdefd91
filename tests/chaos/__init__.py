"""A server under load while everything around it breaks and is mended again."""
