"""The ``evaluation`` section of configuration.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modelscope_plugin.checks import check_integer
from modelscope_plugin.config.metainfo import Metrics
from modelscope_plugin.errors import InputError

DEFAULT_KS = (1, 4, 16, 64, 128)
"""The values of k in the model card, 4, 16 and 128, and those between."""


def check_ks(ks: Iterable[int]) -> list[int]:
    """The values of k in rising order, each once; an error unless all are positive integers."""
    values = sorted({check_integer("k", k, least=1) for k in ks})
    if not values:
        raise InputError("no value of k is given; name at least one positive integer")
    return values


def evaluation_ks(configuration: Mapping[str, Any]) -> list[int]:
    """The values of k that the ``evaluation`` section asks for."""
    for metric in (configuration.get("evaluation") or {}).get("metrics") or ():
        if isinstance(metric, Mapping) and metric.get("type") == Metrics.entity_recall:
            ks = metric.get("k", DEFAULT_KS)
            return check_ks(ks if isinstance(ks, list | tuple) else [ks])
    return list(DEFAULT_KS)
