"""What the first step ranks high for mentions: candidates to train a re-ranker on, and to measure it with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelscope_plugin.config.records import read_record
from modelscope_plugin.data.records import Mention
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.retriever import Retriever
from modelscope_plugin.storage.atomic_write import write_json
from modelscope_plugin.training.training_state import disk_errors

RETRIEVAL = "hybrid"
"""How the first step ranks: vectors and names together, as `EntityLinker` does by default."""


@dataclass(frozen=True)
class _CandidatesRecord:
    """For each mention the ids of its candidates, best first."""

    candidates: list[list[str]]


def rank_candidates(
    encoder: Encoder, index: EntityIndex, mentions: Sequence[Mention], depth: int, show_progress_bar: bool | None
) -> list[list[str]]:
    """Rank entities for mentions as the linker does.

    Args:
        encoder: The dual encoder.
        index: Its index of the knowledge base.
        mentions: The mentions, n.
        depth: Candidates of each.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        For each mention the ids of its candidates, best first.
    """
    retriever = Retriever(index, RETRIEVAL)
    queries = retriever.encode_mentions(encoder, mentions, show_progress_bar=show_progress_bar)
    ids = index.ids
    return [[ids[row] for row in ranking.rows.tolist()] for ranking in retriever.rank(*queries, depth)]


def write_candidates(file: Path, candidates: Sequence[Sequence[str]]) -> None:
    """Write candidates for `read_candidates`."""
    with disk_errors(file):
        write_json(file, {"candidates": candidates})


def read_candidates(file: Path, mentions: int) -> list[list[str]]:
    """Read the candidates of so many mentions; TrainingError if the file is damaged."""
    try:
        record: Any = read_record(_CandidatesRecord, file)
        if len(record.candidates) != mentions:
            raise InputError(f"it holds the candidates of {len(record.candidates)} mentions, not {mentions}")
    except (OSError, InputError) as error:
        raise TrainingError(f"{file} is damaged ({error}); delete it and resume (resume=True, --resume)") from None
    candidates: list[list[str]] = record.candidates
    return candidates
