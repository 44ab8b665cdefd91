"""``gevent.monkey.api`` under the alias."""

from treadle.monkey import get_original, patch_item, patch_module, remove_item
