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

from transformers import AutoConfig, BertForSequenceClassification

from modelscope_plugin.encoding.backends import onnx_export
from modelscope_plugin.encoding.backends.onnx_backend import OnnxPairBackend
from modelscope_plugin.encoding.backends.onnx_export import export_onnx
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel

PAIRS = [(mention, entity) for mention in MENTIONS for entity in ENTITIES]


@pytest.fixture(scope="module")
def exported(cross_encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross encoder with ONNX files of both precisions, made by loading them; its scores differ more than by chance.

    The states of a random encoder hardly depend on the text, less than rounding to 8 bits changes them.
    """
    folder = tmp_path_factory.mktemp("exported") / "model"
    scorer = CrossEncoder.from_pretrained(cross_encoder_folder, device="cpu")
    with torch.no_grad():
        for name, weight in scorer.model.named_parameters():
            if weight.dim() == 2 and "classifier" not in name:
                weight.mul_(4)
    scorer.save_pretrained(folder)
    for backend in ("onnx", "onnx-int8"):
        CrossEncoder.from_pretrained(folder, backend=backend)  # type: ignore[arg-type]
    return folder


def test_onnx_gives_the_scores_of_torch(exported: Path) -> None:
    expected = CrossEncoder.from_pretrained(exported, device="cpu")
    found = CrossEncoder.from_pretrained(exported, backend="onnx")
    scores = found.predict(PAIRS, batch_size=5)
    np.testing.assert_allclose(scores, expected.predict(PAIRS), atol=1e-5)
    assert (scores.dtype, scores.shape) == (np.float32, (36,))
    assert found.fingerprint == expected.fingerprint


def test_int8_is_close_to_torch(exported: Path) -> None:
    expected = CrossEncoder.from_pretrained(exported, device="cpu").predict(PAIRS)
    found = CrossEncoder.from_pretrained(exported, backend="onnx-int8").predict(PAIRS)
    assert not np.allclose(found, expected, atol=1e-5)
    assert np.corrcoef(found, expected)[0, 1] > 0.9


def test_file_is_made_once(exported: Path) -> None:
    files = {file: file.stat().st_mtime_ns for file in (exported / "onnx").iterdir()}
    assert sorted(file.name for file in files) == ["model.onnx", "model_int8.onnx"]
    CrossEncoder.from_pretrained(exported, backend="onnx-int8")
    assert {file: file.stat().st_mtime_ns for file in (exported / "onnx").iterdir()} == files


def test_file_has_the_names_that_other_loaders_look_for(exported: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported / "onnx" / "model.onnx"))
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [(each.name, each.shape[1:]) for each in session.get_outputs()] == [("logits", [1])]


def test_model_without_segments_has_no_input_for_them(cross_encoder_folder: Path, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(cross_encoder_folder, type_vocab_size=1, num_hidden_layers=1)
    torch.manual_seed(1)
    model = CrossEncoderModel(BertForSequenceClassification(config)).eval()
    tokenizer = CrossEncoder.from_pretrained(cross_encoder_folder, device="cpu").tokenizer
    found = CrossEncoder(model, tokenizer, backend=OnnxPairBackend(model, tmp_path))
    np.testing.assert_allclose(found.predict(PAIRS), CrossEncoder(model, tokenizer).predict(PAIRS), atol=1e-5)


def test_stale_file_is_made_again(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    changed = CrossEncoder.from_pretrained(folder, device="cpu")
    with torch.no_grad():
        changed.model.model.classifier.weight.mul_(-1)
    changed.save_pretrained(folder)
    found = CrossEncoder.from_pretrained(folder, backend="onnx")
    np.testing.assert_allclose(found.predict(PAIRS), changed.predict(PAIRS), atol=1e-5)


@pytest.mark.parametrize("part", ["classifier.weight", "embeddings.token_type_embeddings.weight"])
def test_export_that_differs_from_torch_is_not_kept(
    cross_encoder_folder: Path, tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = CrossEncoderModel.from_pretrained(cross_encoder_folder)
    trace = onnx_export._trace

    def trace_other(network: Any, file: Path) -> None:
        other = replace(network, module=copy.deepcopy(network.module))
        with torch.no_grad():
            next(weight for name, weight in other.module.named_parameters() if name.endswith(part)).mul_(1.1)
        trace(other, file)

    monkeypatch.setattr(onnx_export, "_trace", trace_other)
    with pytest.raises(InputError, match=r"gives other scores in ONNX Runtime.*use backend='torch'"):
        export_onnx(model, tmp_path)
    assert not list(tmp_path.rglob("*.onnx*"))


def test_export_leaves_training_mode_as_it_was(cross_encoder_folder: Path, tmp_path: Path) -> None:
    model = CrossEncoderModel.from_pretrained(cross_encoder_folder).train()
    export_onnx(model, tmp_path)
    assert all(module.training for module in model.modules())


def test_cross_encoder_with_onnx_cannot_be_pickled(exported: Path) -> None:
    found = CrossEncoder.from_pretrained(exported, device="cpu", backend="onnx")
    with pytest.raises(InputTypeError, match="load it again in each process"):
        pickle.dumps(found)


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"compile": True}])
def test_options_of_torch_do_not_go_with_onnx(exported: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="for the torch backend"):
        CrossEncoder.from_pretrained(exported, backend="onnx", **options)
