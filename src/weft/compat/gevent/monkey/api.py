"""``gevent.monkey.api`` under the alias."""

from weft.monkey import get_original, patch_item, patch_module, remove_item
