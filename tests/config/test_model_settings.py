from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from modelscope_plugin import EntityEncoder, EntityLinker
from modelscope_plugin.config.model_settings import ModelSettings, PipelineSettings, WindowSettings, find_model_type
from modelscope_plugin.config.settings import Settings, read_settings
from modelscope_plugin.errors import ModelFolderError

BAD_VALUES: list[tuple[type[Settings], Any, str]] = [
    (ModelSettings, {"model": 2}, "model must be a JSON object, not 2"),
    (ModelSettings, {"model": {"emb_pooler_type": "max"}}, "unknown model.emb_pooler_type 'max'; choose from cls, avg"),
    (ModelSettings, {"model": {"normalize": 1}}, "model.normalize=1 must be true or false"),
    (ModelSettings, {"model": {"towers": "2"}}, "model.towers='2' must be an integer between 1 and 2"),
    (WindowSettings, {"preprocessor": {"boq": 0.5}}, "preprocessor.boq=0.5 must be a string"),
    (
        WindowSettings,
        {"preprocessor": {"sequence_length": 0}},
        "preprocessor.sequence_length=0 must be an integer of",
    ),
    (PipelineSettings, {"pipeline": "大"}, "pipeline must be a JSON object, not '大'"),
    (PipelineSettings, {"pipeline": {"retrieval": "fast"}}, "unknown pipeline.retrieval 'fast'; choose from dense"),
    (PipelineSettings, {"pipeline": {"nil_threshold": 2}}, "pipeline.nil_threshold=2 must be a finite number between"),
    (PipelineSettings, {"pipeline": {"detector": []}}, "pipeline.detector=[] must be a string"),
    (PipelineSettings, {"pipeline": {"max_bearers": 0}}, "pipeline.max_bearers=0 must be an integer of at least 1"),
    (PipelineSettings, {"pipeline": {"reranker": 1}}, "pipeline.reranker=1 must be a string"),
    (PipelineSettings, {"pipeline": {"rerank_top_k": 0}}, "pipeline.rerank_top_k=0 must be an integer of at least 1"),
]


def _write(folder: Path, configuration: Any) -> Path:
    (folder / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("kind", "configuration", "message"), BAD_VALUES)
def test_bad_value_is_named_with_its_file(
    kind: type[Settings], configuration: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelFolderError) as caught:
        read_settings(kind, _write(tmp_path, configuration))
    assert str(caught.value).startswith(f"{tmp_path / 'configuration.json'}: {message}")


@pytest.mark.parametrize(("kind", "configuration", "message"), BAD_VALUES)
def test_encoder_and_linker_say_which_value_of_their_model_is_bad(
    kind: type[Settings], configuration: Any, message: str, model_folder: Path, index_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    _write(folder, configuration)
    linker = partial(EntityLinker.from_pretrained, index=index_folder)
    load = linker if kind is PipelineSettings else EntityEncoder.from_pretrained
    with pytest.raises(ModelFolderError, match=re.escape(message)):
        load(folder, device="cpu")


def test_built_in_folders_name_the_window_sequence_length(tmp_path: Path) -> None:
    folder = _write(tmp_path, {"preprocessor": {"sequence_length": 64, "max_length": None}})
    assert read_settings(WindowSettings, folder) == WindowSettings(64)
    assert read_settings(WindowSettings, folder, max_length=32) == WindowSettings(32)


def test_model_type_is_found_and_its_section_is_checked(tmp_path: Path) -> None:
    assert find_model_type({"model": {"type": "bert", "emb_pooler_type": "of another package"}}, tmp_path) == "bert"
    assert find_model_type({"model": None}, tmp_path) != "bert"
    with pytest.raises(ModelFolderError, match=r"configuration\.json: model must be a JSON object, not 'bert'"):
        find_model_type({"model": "bert"}, tmp_path)
