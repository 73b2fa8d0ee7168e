"""Folders of sentence-transformers without a configuration.json of this package."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelscope_plugin.config.configuration import read_configuration
from modelscope_plugin.errors import ModelFolderError

OLD = "sentence_transformers.models"


def write_folder(folder: Path, pooling: Any, *others: str, window: int | None = None) -> Path:
    """Write the files of sentence-transformers into a folder."""
    folder.mkdir(exist_ok=True)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *((f"{name}", name) for name in others)]
    records = [
        {"idx": number, "name": f"{number}", "path": path, "type": f"{OLD}.{name}"}
        for number, (path, name) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(records), encoding="utf-8")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    if window is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": window}), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("pooling", "pooler"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "avg"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean"]}, "avg"),
        ({}, "avg"),
    ],
)
def test_pooling_of_either_version_is_read(pooling: dict[str, Any], pooler: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, pooling, window=48)
    assert read_configuration(folder) == {
        "model": {"emb_pooler_type": pooler, "normalize": False},
        "preprocessor": {"max_length": 48},
    }
    assert read_configuration(write_folder(tmp_path, pooling, "Normalize"))["model"]["normalize"] is True


@pytest.mark.parametrize(
    ("pooling", "others", "message"),
    [
        ({"pooling_mode_max_tokens": True}, (), "pooling 'max' is none that this package has"),
        ({"pooling_mode": "lasttoken"}, (), "pooling 'lasttoken' is none"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, (), "pooling 'cls', 'mean' is none"),
        ({"pooling_mode": 3}, (), "pooling 3 is none"),
        ({"pooling_mode": [["mean"]]}, (), r"pooling \['mean'\] is none"),
        ([], (), r"config\.json is damaged"),
        ({}, ("Dense",), "the modules 'Transformer', 'Pooling', 'Dense' are not those"),
    ],
)
def test_pooling_that_is_lacking_is_named_with_its_remedy(
    pooling: Any, others: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path, pooling, *others)
    with pytest.raises(ModelFolderError, match=message):
        read_configuration(folder)
    (folder / "configuration.json").write_text('{"model": {"emb_pooler_type": "avg"}}', encoding="utf-8")
    assert read_configuration(folder) == {"model": {"emb_pooler_type": "avg"}}


@pytest.mark.parametrize("content", ["{}", "[1]", "[[]]", '[{"type": "x"}]', "", "[" * 100_000, "[]"])
def test_damaged_modules_are_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"modules\.json"):
        read_configuration(tmp_path)


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize("mode", ["cls", "mean"])
def test_model_opens_with_the_vectors_of_sentence_transformers(mode: str, base_folder: Path, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    from modelscope_plugin.encoding import EntityEncoder
    from modelscope_plugin.modeling.model_folder import write_model_folder

    encoder = EntityEncoder.from_pretrained(base_folder, device="cpu")
    write_model_folder(tmp_path, encoder.model, encoder.tokenizer)
    (tmp_path / "configuration.json").unlink()
    modes = {"pooling_mode_cls_token": mode == "cls", "pooling_mode_mean_tokens": mode == "mean"}
    write_folder(tmp_path, modes | {"word_embedding_dimension": 64}, "Normalize", window=32)
    (tmp_path / "Normalize").mkdir()
    texts = ["大鹏", "坐船沿长江到上海入海" * 9, "苹果"]
    expected = library.SentenceTransformer(str(tmp_path), device="cpu").encode(texts)
    found = EntityEncoder.from_pretrained(shutil.copytree(tmp_path, tmp_path / "copy"), device="cpu")
    assert found.max_length == 32
    np.testing.assert_allclose(found.encode_document(texts), expected, atol=1e-5)
