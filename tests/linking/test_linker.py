from __future__ import annotations

import json
import shutil
from pathlib import Path

from modelscope.pipelines import pipeline

from modelscope_plugin.data import Document
from modelscope_plugin.linking.linker import EntityLinker

TEXT = "小品里大鹏很好笑，苹果也好吃"


def test_linking_needs_no_spans_with_a_detector(model_folder: Path, index_folder: Path) -> None:
    options = {"model": str(model_folder), "index": str(index_folder), "device": "cpu"}
    linker = pipeline("entity-linking", detector="dictionary", **options)
    inputs = [TEXT, {"text": TEXT}, "小品里 [ENT_S] 小品 [ENT_E] 大鹏", "无", {"text": TEXT, "mentions": []}]
    results = linker(inputs, top_k=1)
    assert [[mention["mention"] for mention in result["mentions"]] for result in results] == [
        ["大鹏", "苹果"], ["大鹏", "苹果"], ["小品"], [], [],
    ]  # fmt: skip
    own = pipeline("entity-linking", detector=lambda text: [(0, 2)], **options)(TEXT)
    assert [mention["mention"] for mention in own["mentions"]] == ["小品"]


def test_configuration_of_the_model_says_how_to_link(model_folder: Path, index_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    path = tmp_path / "model" / "configuration.json"
    configuration = json.loads(path.read_text(encoding="utf-8"))
    configuration["pipeline"] |= {"retrieval": "lexical", "detector": "dictionary"}
    path.write_text(json.dumps(configuration), encoding="utf-8")
    linker = EntityLinker.from_pretrained(tmp_path / "model", index_folder, device="cpu")
    assert linker.retriever.retrieval == "lexical"
    assert len(linker.link_documents([Document(TEXT, ())])[0]["mentions"]) == 2
    other = EntityLinker.from_pretrained(tmp_path / "model", index_folder, device="cpu", retrieval="dense")
    assert other.retriever.retrieval == "dense"
