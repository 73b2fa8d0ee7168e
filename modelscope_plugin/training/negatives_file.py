"""negatives-N.json in a run folder: the hard negatives that a stage trains with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelscope_plugin.config.records import read_record
from modelscope_plugin.data.records import Mention
from modelscope_plugin.errors import InputError, TrainingError


@dataclass(frozen=True)
class _NegativesRecord:
    """The figures of mining, and for each mention its position and the ids of its negatives."""

    report: dict[str, Any]
    negatives: list[list[Any]]


def read_negatives(file: Path, mentions: Sequence[Mention]) -> tuple[list[Mention], dict[str, Any]]:
    """Read the mentions that have hard negatives, and the figures of mining; TrainingError if the file is damaged."""
    try:
        record = read_record(_NegativesRecord, file)
        for number, one in enumerate(record.negatives):
            if not _is_sound(one, len(mentions)):
                raise InputError(f"negatives[{number}] must be the position of a mention and a list of ids")
    except (OSError, InputError) as error:
        raise TrainingError(f"{file} is damaged ({error}); delete it and resume (resume=True, --resume)") from None
    filled = [replace(mentions[position], negatives=tuple(ids)) for position, ids in record.negatives]
    return filled, record.report


def _is_sound(value: list[Any], mentions: int) -> bool:
    return (
        len(value) == 2
        and type(value[0]) is int
        and 0 <= value[0] < mentions
        and isinstance(value[1], list)
        and all(isinstance(one, str) for one in value[1])
    )
