from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ENTITIES, MENTIONS, write_entities
from hub_stand_in import serve_model
from modelscope.pipelines import pipeline
from modelscope.utils.constant import Tasks
from sentence_transformers import SentenceTransformer

from modelscope_plugin.cli.main import main
from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.training_settings import read_training_settings
from modelscope_plugin.data.markers import mark_mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError, MissingFileError, ModelFolderError
from modelscope_plugin.modeling.checkpoint_files import load_tokenizer
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.model_folder import write_model_folder
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.publishing.export.export_model import ExportResult, export_model
from modelscope_plugin.training.training import train

MARKED = [mark_mention(mention) for mention in MENTIONS]


@pytest.fixture(scope="module")
def trained_folder(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained in two stages and measured."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    settings = read_training_settings(default_configuration(), max_epochs=2, batch_size=3, stages=2, random_negatives=2)
    train(base_folder, lambda: ENTITIES, MENTIONS, folder, *settings, eval_mentions=MENTIONS, ks=[1, 2], device="cpu")
    return folder


@pytest.fixture(scope="module")
def exported(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """That model, exported."""
    return export_model(trained_folder, tmp_path_factory.mktemp("exported") / "demo")


def _model(base: Path, folder: Path, towers: int = 1, boq: str = "", bod: str = "", **settings: Any) -> Path:
    model = DualEncoder.from_pretrained(base, **settings)
    if towers == 2:
        model.separate_towers()
        with torch.no_grad():
            for parameter in model.entity_tower.parameters():
                parameter += 0.02 * torch.randn_like(parameter)
    write_model_folder(folder, model, EntityTokenizer(load_tokenizer(base), 48, boq, bod))
    return folder


def _read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_export_has_these_files_and_no_others(exported: ExportResult) -> None:
    there = {path.relative_to(exported.folder).as_posix() for path in exported.folder.rglob("*") if path.is_file()}
    assert there == exported.files.keys()
    optional = {"vocab.txt", "special_tokens_map.json"}  # of transformers 4
    assert there - optional == {
        "1_Pooling/config.json", "README.md", "config.json", "config_sentence_transformers.json", "configuration.json",
        "export.json", "model.safetensors", "modules.json", "sentence_bert_config.json", "tokenizer.json",
        "tokenizer_config.json", "training.json",
    }  # fmt: skip
    assert all((exported.folder / name).stat().st_size == size for name, size in exported.files.items())


def test_export_names_no_place_of_this_machine(exported: ExportResult, trained_folder: Path, base_folder: Path) -> None:
    for path in exported.folder.rglob("*.*"):
        if path.is_file():
            content = path.read_bytes()
            for folder in (trained_folder, base_folder, exported.folder):
                assert str(folder).encode() not in content, path


def test_export_is_the_same_model(exported: ExportResult, trained_folder: Path) -> None:
    source = EntityEncoder.from_pretrained(trained_folder, device="cpu")
    assert EntityEncoder.from_pretrained(exported.folder, device="cpu").fingerprint == source.fingerprint
    assert _read(exported.folder, "export.json")["fingerprint"] == exported.fingerprint == source.fingerprint


def test_export_goes_through_the_pipeline(exported: ExportResult, trained_folder: Path) -> None:
    inputs = {"source_sentence": MARKED, "sentences_to_compare": ["董成鹏； 类型： Person； 别名： 大鹏;"]}
    mine, yours = (
        pipeline(Tasks.sentence_embedding, model=str(folder), device="cpu")(inputs)["text_embedding"]
        for folder in (exported.folder, trained_folder)
    )
    np.testing.assert_array_equal(mine, yours)


def test_export_declares_the_markers(exported: ExportResult) -> None:
    tokenizer = load_tokenizer(exported.folder)
    marks = tokenizer.convert_tokens_to_ids(["[ENT_S]", "[ENT_E]"])
    assert tokenizer("大 [ENT_S] 鹏 [ENT_E]", add_special_tokens=False)["input_ids"][1::2] == marks
    assert set(marks) <= {place for place, token in tokenizer.added_tokens_decoder.items() if token.special}


def test_configuration_is_the_shipped_one_with_the_model_in_it(base_folder: Path, tmp_path: Path) -> None:
    source = _model(base_folder, tmp_path / "m", 2, boq="查询：", emb_pooler_type="avg", normalize=True)
    own = _read(source, "configuration.json")
    own["train"] |= {"max_epochs": 9, "work_dir": "/home/me/runs", "secret": "/home/me"}
    own["evaluation"]["metrics"][0]["k"] = [1, 7]
    (source / "configuration.json").write_text(json.dumps(own), encoding="utf-8")
    export_model(source, tmp_path / "out")
    expected = default_configuration()
    expected["model"] |= {"emb_pooler_type": "avg", "normalize": True, "towers": 2}
    expected["preprocessor"] |= {"max_length": 48, "boq": "查询："}
    expected["train"]["max_epochs"] = 9
    expected["evaluation"]["metrics"][0]["k"] = [1, 7]
    assert _read(tmp_path / "out", "configuration.json") == expected


def test_two_towers_are_both_there(base_folder: Path, tmp_path: Path) -> None:
    source = _model(base_folder, tmp_path / "m", 2, boq="查询：", bod="实体：", emb_pooler_type="avg_top2")
    result = export_model(source, tmp_path / "out")
    encoder = EntityEncoder.from_pretrained(source, device="cpu")
    assert result.fingerprint == EntityEncoder.from_pretrained(tmp_path / "out", device="cpu").fingerprint
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(model.encode(MARKED), encoder.encode_query(MARKED), atol=1e-5)
    np.testing.assert_allclose(model.encode_document(["长江"]), encoder.encode_document(["长江"]), atol=1e-5)


def test_prefix_that_grows_together_leaves_sentence_transformers_out(base_folder: Path, tmp_path: Path) -> None:
    result = export_model(_model(base_folder, tmp_path / "m", boq="query"), tmp_path / "out", language="en")
    assert not result.sentence_transformers
    assert not {"modules.json", "sentence_bert_config.json", "1_Pooling/config.json"} & result.files.keys()
    assert "would give other vectors" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_model_of_the_hub_that_was_never_trained_here(builtin_folder: Path, tmp_path: Path) -> None:
    with serve_model(builtin_folder, "owner/old-model") as address:
        places = {
            "MODELSCOPE_DOMAIN": address,
            "MODELSCOPE_ENDPOINT": address,
            "MODELSCOPE_CACHE": str(tmp_path / "cache"),
        }
        arguments = ["--model", "owner/old-model", "--language", "en", "--license", "mit", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "modelscope_plugin", "export", "--out", tmp_path / "out", *arguments],
            capture_output=True, text=True, timeout=300, check=False, env=os.environ | places | {"HOME": str(tmp_path)},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["trained"], result["evaluated"], result["name"]) == (False, False, "out")
    assert not {"training.json", "pytorch_model.bin"} & result["files"].keys()
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "has no record of a training run" in card
    assert "\nlicense: mit\n" in card
    encoder = EntityEncoder.from_pretrained(builtin_folder, device="cpu")
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(model.encode(MARKED), encoder.encode_query(MARKED), atol=1e-5)


def test_training_record_comes_without_the_base_folder(exported: ExportResult, trained_folder: Path) -> None:
    record, source = _read(exported.folder, "training.json"), _read(trained_folder, "training.json")
    assert source.keys() - record.keys() == {"base_model", "files"}
    assert record["stages"] == source["stages"]


def test_card_has_the_figures_of_the_run(exported: ExportResult, trained_folder: Path) -> None:
    card = (exported.folder / "README.md").read_text(encoding="utf-8")
    recall = _read(trained_folder, "training.json")["evaluation"]["recall@1"]
    assert f"| 6 | {100 * recall:.1f} |" in card
    assert (exported.trained, exported.evaluated) == (True, True)


def test_python_of_the_card_runs(exported: ExportResult) -> None:
    card = (exported.folder / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 3
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=exported.folder.parent, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "(3, 64)" in result.stdout


def test_commands_of_the_card_run(
    exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = (exported.folder / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^modelscope entity (.*)$", card, re.MULTILINE)
    assert len(commands) == 2
    write_entities(tmp_path / "kb.jsonl")
    shutil.copytree(exported.folder, tmp_path / exported.name)
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert main(shlex.split(command)) == 0
    assert "小品里[大鹏]很好笑" in capsys.readouterr().out


def test_export_replaces_an_earlier_one(model_folder: Path, base_folder: Path, tmp_path: Path) -> None:
    two = _model(base_folder, tmp_path / "two", 2, normalize=True)
    export_model(two, tmp_path / "out")
    result = export_model(model_folder, tmp_path / "out", name="owner/demo")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {name.split("/")[0] for name in result.files}
    assert not (tmp_path / "out" / "entity_tower").exists()


def test_export_of_an_export_is_the_same(exported: ExportResult, tmp_path: Path) -> None:
    result = export_model(exported.folder, tmp_path / "demo")
    assert result.files == exported.files
    for name in result.files:
        assert (tmp_path / "demo" / name).read_bytes() == (exported.folder / name).read_bytes(), name


def test_failed_export_leaves_the_earlier_one(model_folder: Path, base_folder: Path, tmp_path: Path) -> None:
    export_model(model_folder, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    broken = _model(base_folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelFolderError, match="weights cannot be loaded"):
        export_model(broken, tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "out"]


@pytest.mark.parametrize("choose_output", [lambda model: model, lambda model: model.parent])
def test_folder_of_the_model_is_refused(
    choose_output: Callable[[Path], Path], model_folder: Path, tmp_path: Path
) -> None:
    model = tmp_path / "models" / "m"
    shutil.copytree(model_folder, model)
    with pytest.raises(InputError, match="holds the model to export; name another folder"):
        export_model(model, choose_output(model))
    assert (model / "model.safetensors").exists()


def test_foreign_folder_is_refused(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"holds other files \(thesis\.tex, for one\)"):
        export_model(model_folder, tmp_path / "out")
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def _lie(folder: Path) -> None:
    """Let the record of an export name a file that the export has not made."""
    record = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    record["files"]["thesis.tex"] = "0" * 64
    (folder / "export.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "thesis.tex").write_text("years of work", encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda folder: (folder / "notes.txt").write_text("mine"), "notes.txt"),
        (lambda folder: (folder / "1_Pooling" / "notes.txt").write_text("mine"), "1_Pooling/notes.txt"),
        (lambda folder: (folder / "config.json").write_text("{}"), "config.json"),
        (lambda folder: (folder / "notes.txt").symlink_to("config.json"), "notes.txt"),
        (_lie, "thesis.tex"),
        (lambda folder: (folder / "export.json").write_text('{"files": {}}'), "holds other files"),
    ],
)
def test_export_that_was_changed_is_not_replaced(
    model_folder: Path, tmp_path: Path, change: Callable[[Path], None], name: str
) -> None:
    out = export_model(model_folder, tmp_path / "out").folder
    change(out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=re.escape(name)):
        export_model(model_folder, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_export_with_an_edited_card_is_replaced(model_folder: Path, tmp_path: Path) -> None:
    out = export_model(model_folder, tmp_path / "out").folder
    card = (out / "README.md").read_text(encoding="utf-8")
    (out / "README.md").write_text("mine", encoding="utf-8")
    export_model(model_folder, out)
    assert (out / "README.md").read_text(encoding="utf-8") == card


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": "fr"}, "unknown language 'fr'"),
        ({"name": ""}, "name='' must be one line of text"),
        ({"license": "a\nb"}, "must be one line of text"),
        ({"name": "/home/me/model"}, "is not a hub id such as owner/name"),
    ],
)
def test_texts_that_do_not_fit_are_refused(
    options: dict[str, str], message: str, model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        export_model(model_folder, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_reranker_is_refused(cross_encoder_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds a re-ranker; .* modelscope upload"):
        export_model(cross_encoder_folder, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no model folder"):
        export_model(tmp_path / "none", tmp_path / "out")
