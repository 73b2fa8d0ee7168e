from __future__ import annotations

from pathlib import Path

import pytest
from conftest import MENTIONS

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import TrainingError
from modelscope_plugin.linking.linker import EntityLinker
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.training.reranking.first_step import rank_candidates, read_candidates, write_candidates


def test_candidates_are_those_of_the_linker(encoder: EntityEncoder, index: EntityIndex) -> None:
    candidates = rank_candidates(encoder, index, MENTIONS, 5, show_progress_bar=False)
    linked = EntityLinker(encoder, index).link(MENTIONS, top_k=5)
    assert candidates == [[one.id for one in found] for found in linked]


def test_candidates_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_candidates(tmp_path / "c.json", [["roc", "大鹏"], []])
    assert read_candidates(tmp_path / "c.json", 2) == [["roc", "大鹏"], []]


def test_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"candidates": [[1]]}')
    with pytest.raises(TrainingError, match=r"c\.json is damaged .*delete it and resume"):
        read_candidates(tmp_path / "c.json", 1)
