"""Hard negatives mined between two stages, kept on disk for a run that is resumed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelscope_plugin.config.records import read_record
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.storage.files import write_json
from modelscope_plugin.training.context import TrainingContext
from modelscope_plugin.training.mining import mine_negatives
from modelscope_plugin.training.training_state import disk_errors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _NegativesRecord:
    """What negatives-N.json holds: figures of mining, and for each mention its position and ids of negatives."""

    report: dict[str, Any]
    negatives: list[list[Any]]


def mine_stage_negatives(
    context: TrainingContext,
    stage: int,
    encoder: EntityEncoder,
    open_index: Callable[[EntityEncoder], EntityIndex],
    mentions: Sequence[Mention],
    file: Path,
) -> tuple[list[Mention], dict[str, Any]]:
    """Mine hard negatives for a stage on the main process, unless the file has them already.

    Args:
        context: The run.
        stage: The stage, from 2.
        encoder: The model of the stage before.
        open_index: Gives its index of the knowledge base.
        mentions: The training mentions.
        file: The file of the negatives.

    Returns:
        The mentions that have negatives now, and the figures of mining.
    """

    def mine() -> None:
        if file.exists():
            return
        # Each stage draws others.
        settings = replace(context.mining, seed=context.mining.seed + stage)
        result = mine_negatives(
            encoder, open_index(encoder), mentions, settings, show_progress_bar=context.show_progress_bar
        )
        negatives = [
            [position, list(mention.negatives)]
            for position, mention in zip(result.positions, result.mentions, strict=True)
        ]
        with disk_errors(file):
            write_json(file, {"report": result.report.to_record(), "negatives": negatives})
        logger.info("mined %d hard negatives for %d mentions", result.report.negatives, result.report.mentions)

    context.processes.run_on_main(mine)
    try:
        record = read_record(_NegativesRecord, file)
        for number, one in enumerate(record.negatives):
            if not _fits(one, len(mentions)):
                raise InputError(f"negatives[{number}] must be the position of a mention and a list of ids")
    except InputError as error:
        raise TrainingError(f"{file} is damaged ({error}); delete it to mine them again") from None
    filled = [replace(mentions[position], negatives=tuple(negatives)) for position, negatives in record.negatives]
    return filled, record.report


def _fits(value: list[Any], mentions: int) -> bool:
    """True for the position of a mention and a list of ids."""
    return (
        len(value) == 2
        and type(value[0]) is int
        and 0 <= value[0] < mentions
        and isinstance(value[1], list)
        and all(isinstance(one, str) for one in value[1])
    )
