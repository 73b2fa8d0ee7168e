"""The ``evaluation`` section of configuration.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modelscope_plugin.checks import check_integer
from modelscope_plugin.config.configuration import MISSING, find_value
from modelscope_plugin.config.metainfo import Metrics
from modelscope_plugin.errors import InputError, InputTypeError

DEFAULT_KS = (1, 4, 16, 64, 128)
"""The values of k in the model card, 4, 16 and 128, and those between."""

_PATH = "evaluation.metrics"


def check_ks(ks: Iterable[int], name: str = "k") -> list[int]:
    """Return the values of k in rising order, each once; InputError unless there are some, all positive integers."""
    values = sorted({check_integer(name, k, least=1) for k in ks})
    if not values:
        raise InputError(f"no value of {name} is given; name at least one positive integer")
    return values


def find_ks(configuration: Mapping[str, Any]) -> list[int]:
    """Find the values of k that ``evaluation.metrics`` asks for.

    Args:
        configuration: A whole configuration.json.

    Returns:
        The values in rising order; `DEFAULT_KS` where the configuration has none.

    Raises:
        InputError: If the metrics are not a list, or a value of k is not a positive integer.
    """
    metrics = find_value(configuration, _PATH)
    metrics = [] if metrics is MISSING or metrics is None else metrics
    if not isinstance(metrics, list | tuple | str):
        raise InputTypeError(f'{_PATH}={metrics!r} must be a list such as [{{"type": "entity-recall", "k": [1, 4]}}]')
    for metric in metrics:
        if isinstance(metric, Mapping) and metric.get("type") == Metrics.entity_recall:
            ks = metric.get("k")
            if ks is not None:
                return check_ks(ks if isinstance(ks, list | tuple) else [ks], f"{_PATH}.k")
    return list(DEFAULT_KS)
