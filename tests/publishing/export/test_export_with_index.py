"""A published model that includes the index of a knowledge base."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from modelscope.pipelines import pipeline

from modelscope_plugin.cli.main import main
from modelscope_plugin.errors import IndexMismatchError, InputError, MissingFileError
from modelscope_plugin.linking.linker import EntityLinker
from modelscope_plugin.modeling.random_model import write_random_bert
from modelscope_plugin.publishing.export.export_model import export_model
from modelscope_plugin.publishing.export.export_record import read_export_record
from modelscope_plugin.retrieval import EntityIndex
from modelscope_plugin.storage.locks import lock_folder

TEXT = "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"


@pytest.fixture(scope="module")
def published(model_folder: Path, index_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its index."""
    folder = tmp_path_factory.mktemp("hub") / "demo"
    return export_model(model_folder, folder, index=index_folder, name="owner/demo").folder


def test_command_links_with_the_model_alone(
    published: Path, index_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["link", "--model", str(published), "--text", TEXT, "--json"]) == 0
    mine = json.loads(capsys.readouterr().out)
    assert main(["link", "--index", str(index_folder), "--text", TEXT, "--json"]) == 0
    assert mine == json.loads(capsys.readouterr().out)
    assert len(mine["mentions"][0]["candidates"]) == 5


def test_pipeline_links_with_the_model_alone(published: Path) -> None:
    pipe = pipeline("entity-linking", model=str(published), device="cpu")
    candidates = pipe(TEXT)["mentions"][0]["candidates"]
    linker = EntityLinker.from_pretrained(published, device="cpu")
    assert [one.id for one in linker.link([TEXT])[0]] == [one["id"] for one in candidates]


def test_index_names_the_published_model_and_no_folder(published: Path, index_folder: Path) -> None:
    assert EntityIndex.load(published / "index").model == "owner/demo"
    text = (published / "index" / "manifest.json").read_text(encoding="utf-8")
    assert EntityIndex.load(index_folder).model not in text


def test_card_tells_of_the_index(published: Path) -> None:
    card = (published / "README.md").read_text(encoding="utf-8")
    assert "模型附带一个包含 6 个实体的索引" in card
    assert re.search(r"^modelscope entity link --model owner/demo --text ", card, re.MULTILINE)


def test_index_of_another_model_is_refused(index_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write_random_bert(tmp_path / "other", ["大鹏"], hidden_size=64)
    with pytest.raises(IndexMismatchError, match="built with another model"):
        export_model(tmp_path / "other", tmp_path / "out", index=index_folder)
    assert not (tmp_path / "out").exists()


def test_missing_index_is_named(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="none"):
        export_model(model_folder, tmp_path / "out", index=tmp_path / "none")


def test_output_that_holds_the_index_is_refused(model_folder: Path, published: Path) -> None:
    with pytest.raises(InputError, match="holds the index to include"):
        export_model(model_folder, published, index=published / "index")


def test_lock_of_its_index_does_not_keep_an_export_from_being_replaced(
    model_folder: Path, index_folder: Path, tmp_path: Path
) -> None:
    export_model(model_folder, tmp_path / "out", index=index_folder)
    with lock_folder(tmp_path / "out" / "index"):
        pass
    (tmp_path / "out" / ".index.lock").touch()
    assert read_export_record(tmp_path / "out") is not None
    result = export_model(model_folder, tmp_path / "out", index=index_folder)
    assert ".index.lock" not in result.files


def test_model_without_an_index_says_what_is_missing(model_folder: Path) -> None:
    with pytest.raises(InputError, match=r"no index is given, and there is none in .*; give index=FOLDER"):
        EntityLinker.from_pretrained(model_folder)
