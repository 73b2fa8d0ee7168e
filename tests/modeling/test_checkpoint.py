from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from modelscope_plugin.errors import MissingFileError, ModelFolderError
from modelscope_plugin.modeling.checkpoint import load_tower
from modelscope_plugin.modeling.checkpoint_files import load_tokenizer

IDS = torch.tensor([[2, 7, 8, 9, 3]])


def _copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def _cls(tower: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return tower(input_ids=IDS).last_hidden_state[:, 0]


def _rewrite(folder: Path, change: dict[str, str | None], *, as_bin: bool = False) -> None:
    """Rename weights by prefix (None drops them)."""
    weights = load_file(folder / "model.safetensors")
    renamed = {}
    for name, value in weights.items():
        for old, new in change.items():
            if name.startswith(old):
                if new is not None:
                    renamed[new + name[len(old) :]] = value
                break
        else:
            renamed[name] = value
    if as_bin:
        (folder / "model.safetensors").unlink()
        torch.save(renamed, folder / "pytorch_model.bin")
    else:
        save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})


def test_load_tower_equals_automodel(base_folder: Path) -> None:
    expected = _cls(AutoModel.from_pretrained(base_folder, add_pooling_layer=False).eval())
    assert torch.equal(_cls(load_tower(base_folder)), expected)


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("model_type", [True, False])
def test_load_tower_reads_old_modelscope_bin(base_folder: Path, tmp_path: Path, prefix: str, model_type: bool) -> None:
    folder = _copy(base_folder, tmp_path / "old")
    _rewrite(folder, {"": prefix}, as_bin=True)
    if not model_type:
        config = json.loads((folder / "config.json").read_text())
        del config["model_type"]
        (folder / "config.json").write_text(json.dumps(config))
    assert torch.allclose(_cls(load_tower(folder)), _cls(load_tower(base_folder)), atol=1e-5)


def test_load_tower_is_float32_whatever_the_file_holds(base_folder: Path, tmp_path: Path) -> None:
    folder = _copy(base_folder, tmp_path / "half")
    halves = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    assert {parameter.dtype for parameter in load_tower(folder).parameters()} == {torch.float32}


def test_load_tower_names_missing_weights(base_folder: Path, tmp_path: Path) -> None:
    folder = _copy(base_folder, tmp_path / "gap")
    _rewrite(folder, {"encoder.layer.1.output.dense": None})
    with pytest.raises(ModelFolderError, match=r"2 weights are missing \(encoder\.layer\.1\.output\.dense\.bias"):
        load_tower(folder)


def test_load_tower_names_weights_left_over(
    base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = _copy(base_folder, tmp_path / "more")
    weights = load_file(folder / "model.safetensors") | {"adapter.weight": torch.zeros(2)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with caplog.at_level(logging.WARNING, "modelscope_plugin"):
        load_tower(folder)
    assert "adapter.weight" in caplog.text


def test_load_tower_says_nothing_about_a_pretraining_head(
    base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = _copy(base_folder, tmp_path / "head")
    weights = load_file(folder / "model.safetensors") | {"cls.predictions.bias": torch.zeros(2)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with caplog.at_level(logging.WARNING, "modelscope_plugin"):
        load_tower(folder)
    assert not caplog.records


def test_load_tower_without_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no model folder"):
        load_tower(tmp_path / "none")


def test_load_tower_without_config_raises(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"has no config\.json"):
        load_tower(tmp_path)


def test_load_tower_without_weights_raises(base_folder: Path, tmp_path: Path) -> None:
    folder = _copy(base_folder, tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"has no weights; it needs model\.safetensors or pytorch_model\.bin"):
        load_tower(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "config.json"])
def test_load_tower_with_damaged_file_raises(base_folder: Path, tmp_path: Path, name: str) -> None:
    folder = _copy(base_folder, tmp_path / "damaged")
    if name == "pytorch_model.bin":
        _rewrite(folder, {}, as_bin=True)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFolderError, match="damaged"):
        load_tower(folder)


def test_load_tower_does_not_unpickle_code(base_folder: Path, tmp_path: Path) -> None:
    folder = _copy(base_folder, tmp_path / "evil")
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings": Path("/")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelFolderError, match="weights cannot be loaded"):
        load_tower(folder)


def test_load_tower_with_unknown_model_type_raises(base_folder: Path, tmp_path: Path) -> None:
    folder = _copy(base_folder, tmp_path / "unknown")
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "no-such-model"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFolderError, match="no-such-model"):
        load_tower(folder)


def test_load_tokenizer_without_vocabulary_raises(base_folder: Path, tmp_path: Path) -> None:
    folder = _copy(base_folder, tmp_path / "wordless")
    (folder / "vocab.txt").unlink()
    with pytest.raises(ModelFolderError, match="has no tokenizer"):
        load_tokenizer(folder)
