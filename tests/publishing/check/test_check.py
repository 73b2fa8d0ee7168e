"""The check before an upload, on folders that are whole and on folders that were spoilt."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import FolderCheckError, InputError, ModelFolderError
from modelscope_plugin.modeling.checkpoint_files import load_tokenizer
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.model_folder import write_model_folder
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.publishing.check import check_folder as check
from modelscope_plugin.publishing.check.check_folder import check_folder
from modelscope_plugin.publishing.export.export_model import export_model
from modelscope_plugin.publishing.export.export_record import read_export_record, write_export_record

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def source(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two towers with a narrow window and a pooler of its own."""
    model = DualEncoder.from_pretrained(base_folder, emb_pooler_type="avg_first_last", normalize=True)
    model.separate_towers()
    with torch.no_grad():
        for parameter in model.entity_tower.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("source") / "model"
    write_model_folder(folder, model, EntityTokenizer(load_tokenizer(base_folder), 24))
    return folder


@pytest.fixture(scope="module")
def standalone(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(
        source, tmp_path_factory.mktemp("hub") / "m", name="owner/name", license="mit", standalone=True
    ).folder


def _check(folder: Path, source: Path) -> dict[str, float]:
    record = read_export_record(folder)
    assert record is not None
    return check_folder(folder, record, EntityEncoder.from_pretrained(source, device="cpu"))


def _sign(folder: Path) -> None:
    """Make the record of a folder fit what is in it, as nobody but a forger would."""
    record = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    write_export_record(folder, record["name"], record["license"], record["fingerprint"], record["standalone"])


def test_standalone_folder_opens_in_three_ways(standalone: Path, source: Path) -> None:
    before = set(standalone.rglob("*"))
    differences = _check(standalone, source)
    assert list(differences) == ["plugin", "standalone", "sentence-transformers"]
    assert max(differences.values()) < 1e-5
    assert set(standalone.rglob("*")) == before


@pytest.fixture(scope="module")
def plain(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain folder that its prefix keeps from sentence-transformers, so that it opens in one way."""
    work = tmp_path_factory.mktemp("plain")
    model = DualEncoder.from_pretrained(base_folder)
    write_model_folder(work / "m", model, EntityTokenizer(load_tokenizer(base_folder), 48, "query"))
    return export_model(work / "m", work / "out", name="demo", license="mit").folder


def test_plain_folder_that_prefixes_keep_from_sentence_transformers_opens_in_one(plain: Path) -> None:
    assert list(_check(plain, plain)) == ["plugin"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("{}['score']", r"plugin: the link snippet of the card failed \(KeyError: 'score'\)"),
        ("import sys; sys.exit()", r"plugin: the link snippet of the card failed \(SystemExit"),
    ],
)
def test_snippet_that_does_not_run_is_refused(
    code: str, message: str, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "render_snippets", lambda facts: {"link": code})
    with pytest.raises(FolderCheckError, match=message):
        _check(plain, plain)


def test_code_that_was_written_into_the_card_does_not_run(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path / "m")
    card = (plain / "README.md").read_text(encoding="utf-8")
    card = card.replace("import modelscope_plugin\n", "raise SystemExit\n") + "\n~~~python\nraise SystemExit\n~~~\n"
    (tmp_path / "m" / "README.md").write_text(card, encoding="utf-8")
    assert list(_check(tmp_path / "m", plain)) == ["plugin"]


def _other_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: value + 0.01 for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def _tell_the_token(folder: Path) -> None:
    path = folder / "entity_embedding" / "errors.py"
    path.write_text("import os; raise ValueError(os.environ.get('MODELSCOPE_API_TOKEN', 'no token'))\n")


def _change_code(folder: Path) -> None:
    path = folder / "entity_embedding" / "encoding" / "encoder.py"
    path.write_text(path.read_text(encoding="utf-8").replace("return vectors\n", "return vectors + 1\n"))


def _other_pooling(folder: Path) -> None:
    path = folder / "2_Pooling" / "config.json"
    settings = json.loads(path.read_text()) | {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    path.write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_other_weights, "the weights in .* are not those that were exported"),
        (_tell_the_token, r"plugin: opening the folder failed \(ValueError: no token\)"),
        (_change_code, "standalone: the folder gives other vectors than the source model"),
        (_other_pooling, "sentence-transformers: the folder gives other vectors than the source model"),
    ],
)
def test_spoilt_folder_is_refused(
    spoil: Callable[[Path], None],
    message: str,
    standalone: Path,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-secret")
    shutil.copytree(standalone, tmp_path / "m")
    spoil(tmp_path / "m")
    with pytest.raises(ModelFolderError, match=r"is not as it was exported; only README\.md may be edited"):
        read_export_record(tmp_path / "m")
    _sign(tmp_path / "m")
    with pytest.raises(FolderCheckError, match=message):
        _check(tmp_path / "m", tmp_path / "m" if spoil is _other_weights else source)


def _pickle(folder: Path, ran: Path) -> None:
    """A file that runs code when it is unpickled."""

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (ran,)

    folder.mkdir(exist_ok=True)
    (folder / "x").write_bytes(pickle.dumps(Evil()))


@pytest.mark.parametrize(
    "name",
    ["joblib.numpy_pickle", "torch.hub", "pickle.Unpickler", "x.Evil", "sentence_transformers.util.torch", None],
)
@pytest.mark.parametrize("file", ["modules.json", "router_config.json", "sub/router_config.json"])
def test_class_that_no_export_names_is_not_imported(
    name: Any, file: str, standalone: Path, source: Path, tmp_path: Path
) -> None:
    folder, ran = tmp_path / "m", tmp_path / "ran"
    shutil.copytree(standalone, folder)
    _pickle(folder / "sub", ran)
    (folder / "x.py").write_text(f"open({str(ran)!r}, 'w')")
    modules = [{"idx": 0, "name": "0", "path": "sub/x", "type": name}]
    router = {"types": {"sub/x": name}, "structure": {"query": ["sub/x"]}, "parameters": {"default_route": "query"}}
    (folder / file).write_text(json.dumps(modules if file == "modules.json" else router))
    _sign(folder)
    with pytest.raises(ModelFolderError, match="is no module that an export writes; export the model again"):
        _check(folder, source)
    assert not ran.exists()


@pytest.mark.parametrize("text", ["{", "null", "[1]", '{"type": 1}', "[" * 100_000, '[{"idx": 0}]'])
def test_damaged_list_of_modules_is_named(text: str, standalone: Path, source: Path, tmp_path: Path) -> None:
    shutil.copytree(standalone, tmp_path / "m")
    (tmp_path / "m" / "modules.json").write_text(text)
    _sign(tmp_path / "m")
    with pytest.raises(ModelFolderError, match=r"modules\.json is damaged; export the model again"):
        _check(tmp_path / "m", source)


def test_missing_sentence_transformers_is_named(
    standalone: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FolderCheckError, match=r"pip install 'modelscope_plugin\[publish\]'"):
        _check(standalone, source)


def test_record_of_a_folder_that_is_no_export(model_folder: Path) -> None:
    assert read_export_record(model_folder) is None


def _without_files(folder: Path) -> str:
    return json.dumps(json.loads((folder / "export.json").read_text()) | {"files": None})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: (m / "train.jsonl").write_text("{}"), InputError, "train.jsonl is not part of the export"),
        (lambda m: (m / "1_WeightedLayerPooling" / "x").write_text("{}"), InputError, "x is not part of the export"),
        (lambda m: (m / "link").symlink_to("/etc/hostname"), InputError, "is a link"),
        (lambda m: (m / "tokenizer.json").unlink(), ModelFolderError, "lacks tokenizer.json"),
        (lambda m: (m / "export.json").write_text("{"), ModelFolderError, "is damaged, or of another version"),
        (lambda m: (m / "export.json").write_text(_without_files(m)), ModelFolderError, "is damaged"),
        (lambda m: (m / "export.json").write_text('{"files": []}'), ModelFolderError, "is damaged"),
    ],
)
def test_folder_with_other_files_is_no_export(
    change: Callable[[Path], None], error: type[Exception], message: str, standalone: Path, tmp_path: Path
) -> None:
    shutil.copytree(standalone, tmp_path / "m")
    change(tmp_path / "m")
    with pytest.raises(error, match=message):
        read_export_record(tmp_path / "m")


def test_onnx_files_that_go_along_are_checked(base_folder: Path, tmp_path: Path) -> None:
    model = DualEncoder.from_pretrained(base_folder, emb_pooler_type="avg")
    write_model_folder(tmp_path / "m", model, EntityTokenizer(load_tokenizer(base_folder), 48, "query"))
    result = export_model(tmp_path / "m", tmp_path / "out", name="demo", license="mit", onnx=True)
    assert {"onnx/model.onnx", "onnx/model_int8.onnx"} < result.files.keys()
    differences = _check(result.folder, tmp_path / "m")
    assert list(differences) == ["plugin", "onnx", "onnx-int8"]
    assert differences["onnx"] < 1e-4
