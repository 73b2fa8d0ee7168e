from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.errors import IndexFolderError, InputError
from modelscope_plugin.retrieval import EntityIndex, Fusion, Retriever
from modelscope_plugin.retrieval.quality import Quality

RANKS = st.floats(0.01, 1)
GOOD = Quality(0.9, 0.9, 300, 1000)
POOR = Quality(0.1, 0.9, 300, 1000)


def test_good_vectors_get_the_default_fusion() -> None:
    assert GOOD.fusion == Fusion()


def test_poor_vectors_put_names_first_and_namesakes_by_id() -> None:
    assert POOR.ratio == pytest.approx(1 / 9)
    assert POOR.fusion == Fusion(names=20.0, orders_namesakes=False)


@given(RANKS, RANKS, RANKS)
def test_weight_of_names_never_falls_as_vectors_get_worse(one: float, other: float, names: float) -> None:
    better, worse = (Quality(value, names, 300, 1000).fusion for value in (max(one, other), min(one, other)))
    assert Fusion().names <= better.names <= worse.names <= 20


def test_record_gives_back_the_quality() -> None:
    record = json.loads(json.dumps(POOR.to_record()))
    assert Quality.from_record(record) == POOR
    assert record["fusion"] == {"names": 20.0, "orders_namesakes": False}


@pytest.mark.parametrize("values", [{"dense": 2}, {"names": "x"}, {"mentions": -1}, {"entities": None}])
def test_record_of_another_kind_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="quality"):
        Quality.from_record({**GOOD.to_record(), **values})


def test_rank_outside_its_range_is_refused() -> None:
    with pytest.raises(InputError, match="dense=1"):
        Quality(1.5, 1.0, 300, 1000)


def test_quality_is_kept_in_the_manifest_and_decides_the_fusion(index: EntityIndex, tmp_path: Path) -> None:
    index.quality = POOR
    index.save(tmp_path / "index")
    opened = EntityIndex.load(tmp_path / "index")
    assert opened.quality == POOR
    assert Retriever(opened, "hybrid").fusion == POOR.fusion
    opened.fitted = opened.fitted.with_fusion(Fusion(names=1.0))
    assert Retriever(opened, "hybrid").fusion == Fusion(names=1.0)


def test_index_without_quality_has_the_default_fusion(index_folder: Path, tmp_path: Path) -> None:
    opened = EntityIndex.load(index_folder)
    assert (opened.quality, Retriever(opened, "hybrid").fusion) == (None, Fusion())


def test_damaged_quality_is_said(index: EntityIndex, tmp_path: Path) -> None:
    index.quality = POOR
    index.save(tmp_path / "index")
    path = tmp_path / "index" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["quality"]["dense"] = None
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(IndexFolderError, match=r"damaged \(quality: "):
        EntityIndex.load(tmp_path / "index")
