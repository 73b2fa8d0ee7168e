from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from modelscope.pipelines import pipeline

from modelscope_plugin.data import Document
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import IndexMismatchError
from modelscope_plugin.linking import linker
from modelscope_plugin.linking.linker import EntityLinker
from modelscope_plugin.linking.reranking.late_interaction import LateInteraction
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.retrieval.fitted import RerankingWeights

TEXT = "小品里大鹏很好笑，苹果也好吃"


def test_linking_needs_no_spans_with_a_detector(model_folder: Path, index_folder: Path) -> None:
    options = {"model": str(model_folder), "index": str(index_folder), "device": "cpu"}
    detecting = pipeline("entity-linking", detector="dictionary", **options)
    inputs = [TEXT, {"text": TEXT}, "小品里 [ENT_S] 小品 [ENT_E] 大鹏", "无", {"text": TEXT, "mentions": []}]
    results = detecting(inputs, top_k=1)
    assert [[mention["mention"] for mention in result["mentions"]] for result in results] == [
        ["大鹏", "苹果"], ["大鹏", "苹果"], ["小品"], [], [],
    ]  # fmt: skip
    own = pipeline("entity-linking", detector=lambda text: [(0, 2)], **options)(TEXT)
    assert [mention["mention"] for mention in own["mentions"]] == ["小品"]


def test_names_of_many_bearers_are_found_where_configuration_or_keyword_allows_them(
    model_folder: Path, index_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    configuration = json.loads((folder / "configuration.json").read_text(encoding="utf-8"))
    configuration["pipeline"] |= {"detector": "dictionary", "max_bearers": 2}
    (folder / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
    found = []
    for most in (None, 3):  # three entities are called 苹果
        linker = EntityLinker.from_pretrained(folder, index_folder, max_bearers=most, device="cpu")
        found.append([mention["mention"] for mention in linker.link_documents([Document(TEXT, ())])[0]["mentions"]])
    assert found == [["大鹏"], ["大鹏", "苹果"]]
    options = {"model": str(folder), "index": str(index_folder), "device": "cpu"}
    assert len(pipeline("entity-linking", max_bearers=3, **options)(TEXT)["mentions"]) == 2


def test_configuration_of_the_model_says_how_to_link(model_folder: Path, index_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    path = tmp_path / "model" / "configuration.json"
    configuration = json.loads(path.read_text(encoding="utf-8"))
    configuration["pipeline"] |= {"retrieval": "lexical", "detector": "dictionary"}
    path.write_text(json.dumps(configuration), encoding="utf-8")
    first = EntityLinker.from_pretrained(tmp_path / "model", index_folder, device="cpu")
    assert first.retriever.retrieval == "lexical"
    assert len(first.link_documents([Document(TEXT, ())])[0]["mentions"]) == 2
    other = EntityLinker.from_pretrained(tmp_path / "model", index_folder, device="cpu", retrieval="dense")
    assert other.retriever.retrieval == "dense"


def test_index_and_configuration_come_from_the_revision_of_the_model(
    model_folder: Path, index_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(model_folder, tmp_path / "v2")
    shutil.copytree(index_folder, tmp_path / "v2" / "index")
    path = tmp_path / "v2" / "configuration.json"
    configuration = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(configuration | {"pipeline": {"retrieval": "lexical"}}), encoding="utf-8")

    load_folder = EntityEncoder.from_pretrained

    def load(model: str, *, revision: str | None = None, device: str | None = None) -> EntityEncoder:
        encoder = load_folder(tmp_path / str(revision), device=device)
        encoder.name = model
        return encoder

    monkeypatch.setattr(linker, "resolve_model", lambda model, revision=None: tmp_path / str(revision))
    monkeypatch.setattr(EntityEncoder, "from_pretrained", load)
    opened = EntityLinker.from_pretrained("owner/name", revision="v2", device="cpu")
    assert opened.retriever.retrieval == "lexical"


def test_reload_follows_the_folder(encoder: EntityEncoder, index_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    shutil.copytree(index_folder, folder)
    own = EntityLinker(encoder, EntityIndex.load(folder), detector="dictionary")
    text = "看 [ENT_S] 扬子江 [ENT_E] 吧"
    assert (own.reload(), own.link([text])[0][0].id) == (False, "river")
    changed = EntityIndex.load(folder)
    changed.remove(["river"])
    changed.save(folder)
    assert own.link([text])[0][0].id == "river"
    assert own.reload()
    assert "river" not in {candidate.id for candidate in own.link([text])[0]}
    assert not own.reload()


def test_reload_that_fails_leaves_the_linker_as_it_was(
    encoder: EntityEncoder, index_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    shutil.copytree(index_folder, folder)
    own = EntityLinker(encoder, EntityIndex.load(folder))
    changed = EntityIndex.load(folder)
    changed.fingerprint = "another"
    changed.save(folder)
    with pytest.raises(IndexMismatchError):
        own.reload()
    assert own.link(["看 [ENT_S] 扬子江 [ENT_E] 吧"])[0][0].id == "river"


def test_reload_keeps_the_reranker_and_follows_its_weights(
    encoder: EntityEncoder, index_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    shutil.copytree(index_folder, folder)
    reranker = LateInteraction(encoder)
    own = EntityLinker(encoder, EntityIndex.load(folder), reranker=reranker)
    text = "看 [ENT_S] 扬子江 [ENT_E] 吧"
    assert own.link([text])[0][0].probability is None
    changed = EntityIndex.load(folder)
    changed.fitted = changed.fitted.with_reranking(RerankingWeights("hybrid", reranker.fingerprint, 1.0))
    changed.save(folder)
    assert own.reload()
    found = own.link([text])[0]
    assert sum(one.probability or 0 for one in found) == pytest.approx(1.0)
    assert [one.score for one in found] == pytest.approx([one.rerank_score for one in found])
    changed.fitted = changed.fitted.with_reranking(RerankingWeights("hybrid", "another", 1.0))
    changed.save(folder)
    with pytest.raises(IndexMismatchError):
        own.reload()
    assert own.link([text])[0] == found
