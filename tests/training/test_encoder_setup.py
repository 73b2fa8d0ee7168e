from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MENTIONS
from small_training import train_small
from transformers import AutoTokenizer

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.training.encoder_setup import set_dropout


def test_dropout_is_that_of_the_settings(base_folder: Path) -> None:
    encoder = EntityEncoder.from_pretrained(base_folder, device="cpu")
    encoder.model.train()
    padded = encoder.tokenizer.pad(encoder.tokenizer.mention_ids(MENTIONS))
    inputs = {name: torch.from_numpy(value) for name, value in padded.items()}
    assert not torch.equal(encoder.model.embed("mention", **inputs), encoder.model.embed("mention", **inputs))
    set_dropout(encoder.model, 0.0)
    assert torch.equal(encoder.model.embed("mention", **inputs), encoder.model.embed("mention", **inputs))


def test_fp16_on_a_cpu_is_refused(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mixed_precision=fp16 needs a GPU"):
        train_small(base_folder, tmp_path / "out", mixed_precision="fp16")


def test_markers_are_added_and_saved_for_every_loader(unmarked_folder: Path, tmp_path: Path) -> None:
    train_small(unmarked_folder, tmp_path / "out", max_epochs=1)
    text = "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"
    encoder = EntityEncoder.from_pretrained(tmp_path / "out", device="cpu")
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")(text)["input_ids"]
    assert ids == encoder.tokenizer.mention_ids([text])[0]
    assert encoder.tokenizer.tokenizer.convert_ids_to_tokens(ids).count("[ENT_S]") == 1
    assert encoder.model.mention_tower.get_input_embeddings().num_embeddings == len(encoder.tokenizer.tokenizer)


def test_two_towers_are_trained_and_saved(base_folder: Path, tmp_path: Path) -> None:
    train_small(base_folder, tmp_path / "out", max_epochs=2, towers=2)
    encoder = EntityEncoder.from_pretrained(tmp_path / "out", device="cpu")
    assert encoder.model.towers == 2
    assert not np.allclose(encoder.encode_query(["苹果"]), encoder.encode_document(["苹果"]), atol=1e-4)


def test_prefixes_of_the_base_are_kept(base_folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(base_folder, base)
    (base / "configuration.json").write_text(json.dumps({"preprocessor": {"boq": "小品", "bod": "名"}}))
    train_small(base, tmp_path / "out", max_epochs=1)
    section = json.loads((tmp_path / "out" / "configuration.json").read_text())["preprocessor"]
    assert (section["boq"], section["bod"]) == ("小品", "名")
