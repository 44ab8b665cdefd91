"""``gevent._config`` under the alias: treadle's settings, with gevent's environment variables."""

import treadle._config as treadle_config
from treadle._config import (
    ALL_SETTINGS,
    Config,
    Setting,
    config,
    validate_anything,
    validate_bool,
    validate_invalid,
)

__all__ = ["config"]


class ImportableSetting(treadle_config.ImportableSetting):
    """A setting that is an importable object, with gevent's names for its methods."""

    _import_one = treadle_config.ImportableSetting.import_one
    _import_one_of = treadle_config.ImportableSetting.import_one_of


def _under_gevents_name(kind):
    return type(kind.__name__, (kind,), {"environment_key": kind.gevent_key})


globals().update((kind.__name__, _under_gevents_name(kind)) for kind in ALL_SETTINGS)
