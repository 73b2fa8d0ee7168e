from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import MENTIONS
from small_training import train_small

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.training import stage_evaluation


def test_measurements_on_the_way_are_capped(base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    index_of = stage_evaluation.build_index

    def counted(encoder: EntityEncoder, entities: Any, **options: Any) -> EntityIndex:
        index = index_of(encoder, entities, **options)
        sizes.append(len(index))
        return index

    monkeypatch.setattr(stage_evaluation, "build_index", counted)
    train_small(
        base_folder, tmp_path / "out", eval_mentions=MENTIONS[:1], ks=[1], eval_steps=1, eval_max_entities=2,
        max_epochs=2,
    )  # fmt: skip
    assert sizes[-1] == 6
    assert all(1 <= size < 6 for size in sizes[:-1])
    assert len(sizes) == 3
