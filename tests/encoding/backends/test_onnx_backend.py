from __future__ import annotations

import copy
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ENTITIES, MENTIONS

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from transformers import AutoConfig, AutoModel

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.encoding.backends import onnx_export
from modelscope_plugin.encoding.backends.onnx_backend import OnnxBackend
from modelscope_plugin.encoding.backends.onnx_export import export_onnx
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.model_folder import write_model_folder
from modelscope_plugin.storage.atomic_write import check_output_folder


@pytest.fixture(scope="module")
def two_towers(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two towers that differ, mean pooling of two layers, vectors of length 1."""
    folder = tmp_path_factory.mktemp("two")
    encoder = EntityEncoder.from_pretrained(
        model_folder, device="cpu", emb_pooler_type="avg_first_last", normalize=True
    )
    encoder.model.separate_towers()
    with torch.no_grad():
        for parameter in encoder.model.entity_tower.parameters():
            parameter.mul_(1.1)
    write_model_folder(folder, encoder.model, encoder.tokenizer)
    return folder


@pytest.fixture(scope="module")
def exported(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with ONNX files of both precisions."""
    folder = shutil.copytree(model_folder, tmp_path_factory.mktemp("exported") / "model")
    model = EntityEncoder.from_pretrained(folder, device="cpu").model
    for precision in ("float32", "int8"):
        export_onnx(model, folder, precision)  # type: ignore[arg-type]
    return Path(folder)


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """A model folder of the test's own, without ONNX files."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


@pytest.mark.parametrize("pooler", ["cls", "avg", "avg_top2"])
def test_onnx_gives_the_vectors_of_torch_with_each_pooler(folder: Path, pooler: str) -> None:
    expected = EntityEncoder.from_pretrained(folder, device="cpu", emb_pooler_type=pooler)
    encoder = EntityEncoder.from_pretrained(folder, backend="onnx", emb_pooler_type=pooler)
    found = encoder.encode_document(ENTITIES, batch_size=4)
    np.testing.assert_allclose(found, expected.encode_document(ENTITIES), atol=1e-5)
    assert (found.dtype, found.flags.c_contiguous) == (np.float32, True)


def test_onnx_has_two_towers_pooled_of_two_layers_and_normalised(two_towers: Path) -> None:
    expected = EntityEncoder.from_pretrained(two_towers, device="cpu")
    encoder = EntityEncoder.from_pretrained(two_towers, backend="onnx")
    np.testing.assert_allclose(encoder.encode_query(MENTIONS), expected.encode_query(MENTIONS), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_document(ENTITIES), expected.encode_document(ENTITIES), atol=1e-5)
    assert (two_towers / "entity_tower" / "onnx" / "model.onnx").is_file()


def test_int8_is_close_to_float32(exported: Path) -> None:
    expected = EntityEncoder.from_pretrained(exported, device="cpu").encode_document(ENTITIES)
    found = EntityEncoder.from_pretrained(exported, backend="onnx-int8").encode_document(ENTITIES)
    assert not np.allclose(found, expected, atol=1e-5)
    assert _cosines(found, expected).min() > 0.999


def test_fingerprint_is_that_of_the_model(exported: Path) -> None:
    encoders = [EntityEncoder.from_pretrained(exported, device="cpu", backend=name) for name in ("torch", "onnx-int8")]
    assert encoders[0].fingerprint == encoders[1].fingerprint


def test_file_is_made_once(exported: Path) -> None:
    files = {file: file.stat().st_mtime_ns for file in (exported / "onnx").iterdir()}
    assert sorted(file.name for file in files) == ["model.onnx", "model_int8.onnx"]
    for backend in ("onnx", "onnx-int8"):
        EntityEncoder.from_pretrained(exported, backend=backend)  # type: ignore[arg-type]
    assert {file: file.stat().st_mtime_ns for file in (exported / "onnx").iterdir()} == files


def test_stale_and_damaged_files_are_made_again(folder: Path) -> None:
    model = EntityEncoder.from_pretrained(folder, device="cpu").model
    file = export_onnx(model, folder)[0]
    with torch.no_grad():
        next(model.parameters()).mul_(1.5)
    encoder = EntityEncoder.from_pretrained(folder, device="cpu")
    changed = EntityEncoder(model, encoder.tokenizer, backend=OnnxBackend(model, folder))
    expected = EntityEncoder(model, encoder.tokenizer).encode_query(MENTIONS)
    np.testing.assert_allclose(changed.encode_query(MENTIONS), expected, atol=1e-5)
    file.write_bytes(file.read_bytes()[:1000])
    again = EntityEncoder.from_pretrained(folder, backend="onnx")
    np.testing.assert_allclose(again.encode_query(MENTIONS), encoder.encode_query(MENTIONS), atol=1e-5)


def test_files_of_a_read_only_folder_go_to_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
    # A file in the place of the folder stops every user, root too.
    (folder / "onnx").write_text("")
    encoder = EntityEncoder.from_pretrained(folder, backend="onnx")
    expected = EntityEncoder.from_pretrained(folder, device="cpu").encode_query(MENTIONS)
    np.testing.assert_allclose(encoder.encode_query(MENTIONS), expected, atol=1e-5)
    assert len([*(tmp_path / "cache").rglob("model.onnx")]) == 1


def test_nowhere_to_write_is_an_error(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "onnx").write_text("")
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="no ONNX file can be written"):
        EntityEncoder.from_pretrained(folder, backend="onnx")


def test_file_has_the_names_that_other_loaders_look_for(exported: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported / "onnx" / "model.onnx"))
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert [each.name for each in session.get_outputs()] == ["last_hidden_state"]


def test_training_again_may_replace_a_folder_with_onnx_files(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "record.json").write_text('{"files": []}')
    check_output_folder(tmp_path, "record.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "jax"}, "unknown backend 'jax'"),
        ({"dtype": "int4"}, "unknown dtype 'int4'"),
        ({"backend": "onnx", "dtype": "float16"}, "for the torch backend"),
        ({"backend": "onnx", "compile": True}, "for the torch backend"),
        ({"backend": "onnx", "device": "cuda"}, "runs on the CPU"),
    ],
)
def test_choices_that_do_not_go_together_raise(folder: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EntityEncoder.from_pretrained(folder, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_export_that_differs_from_torch_is_not_kept(
    folder: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = EntityEncoder.from_pretrained(folder, device="cpu").model
    trace = onnx_export._trace

    def trace_other(network: Any, file: Path) -> None:
        other = replace(network, module=copy.deepcopy(network.module))
        with torch.no_grad():
            for parameter in other.module.parameters():
                parameter.mul_(1.1)
        trace(other, file)

    monkeypatch.setattr(onnx_export, "_trace", trace_other)
    with pytest.raises(InputError, match=r"gives other vectors in ONNX Runtime.*use backend='torch'"):
        export_onnx(model, folder, precision)  # type: ignore[arg-type]
    assert not list(folder.rglob("*.onnx*"))


def test_model_that_onnx_runtime_computes_for_one_text_only_is_refused(folder: Path) -> None:
    config = AutoConfig.for_model(
        "modernbert",
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        **dict.fromkeys(("pad_token_id", "eos_token_id", "bos_token_id", "cls_token_id", "sep_token_id"), 0),
    )
    tower = AutoModel.from_config(config)
    model = DualEncoder(tower, emb_pooler_type="avg").eval()
    try:
        export_onnx(model, folder)
    except InputError as error:
        assert "cannot be computed by ONNX Runtime" in str(error)  # noqa: PT017  # newer versions may compute it
        assert not list(folder.rglob("*.onnx*"))


def test_encoder_with_onnx_cannot_be_pickled(folder: Path) -> None:
    encoder = EntityEncoder.from_pretrained(folder, device="cpu", backend="onnx")
    with pytest.raises(InputTypeError, match="load it again in each process"):
        pickle.dumps(encoder)
