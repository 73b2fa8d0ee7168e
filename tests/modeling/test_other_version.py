"""Folders that were saved with another major version of transformers.

``saved/`` holds the JSON files that versions 4.57.1 and 5 write beside the weights of one small model; the weights are
drawn here. With the interpreter of an environment that has the other version,
``ENTITY_OTHER_PYTHON=/path/to/python python -m pytest tests/modeling/test_other_version.py`` carries folders of every
kind from each version to the other.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import ENTITIES, MENTIONS, write_entities, write_mentions
from transformers import AutoConfig, AutoTokenizer, BertModel

from modelscope_plugin.data.entity_text import entity_text
from modelscope_plugin.data.markers import mark_mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.modeling.checkpoint_files import load_tokenizer, save_tokenizer
from modelscope_plugin.publishing.check import open_folder

SAVED = Path(__file__).parent / "saved"
TEXTS = ["大鹏", "苹果 [ENT_S] 大鹏 [ENT_E] ab", "ba"]
MARKED = [mark_mention(mention) for mention in MENTIONS]
OTHER = os.environ.get("ENTITY_OTHER_PYTHON")


@pytest.mark.parametrize("kind", ["bert", "generic"])
def test_folders_of_both_versions_are_one_model(kind: str, tmp_path: Path) -> None:
    encoders = []
    for version in ("transformers-4", "transformers-5"):
        folder = shutil.copytree(SAVED / version / kind, tmp_path / version)
        torch.manual_seed(1)
        BertModel(AutoConfig.from_pretrained(folder), add_pooling_layer=False).save_pretrained(tmp_path / "weights")
        shutil.copy(tmp_path / "weights" / "model.safetensors", folder)
        encoders.append(EntityEncoder.from_pretrained(folder, device="cpu", max_length=16))
    assert encoders[0].fingerprint == encoders[1].fingerprint
    np.testing.assert_array_equal(encoders[0].encode_query(TEXTS), encoders[1].encode_query(TEXTS))


@pytest.mark.parametrize("version", ["transformers-4", "transformers-5"])
def test_tokenizer_is_saved_under_names_that_both_versions_know(version: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(SAVED / version / "generic")
    save_tokenizer(tokenizer, tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not isinstance(settings.get("extra_special_tokens"), list)
    again = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert again.all_special_ids == tokenizer.all_special_ids
    assert [again(text)["input_ids"] for text in TEXTS] == [tokenizer(text)["input_ids"] for text in TEXTS]


def run(python: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run an interpreter with this package, without a network."""
    package = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": package, "MODELSCOPE_CACHE": os.environ.get("MODELSCOPE_CACHE", "/tmp")}
    done = subprocess.run(
        [python, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done


def command(python: str, *arguments: object) -> str:
    """Run the command line of an interpreter."""
    return run(python, "-m", "modelscope_plugin", *arguments).stdout


def vectors(python: str, way: str, folder: Path, work: Path) -> Any:
    """The vectors of a folder that an interpreter opens in one way."""
    job = {"folder": str(folder), "standalone": folder.name == "standalone", "mentions": MARKED, "snippets": {}}
    job["entities"] = [entity_text(entity) for entity in ENTITIES]
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
    run(python, open_folder.__file__, way, work / "job.json", work / "vectors.npy", work / "outcome")
    assert (work / "outcome").read_text(encoding="utf-8") == open_folder.DONE
    return np.load(work / "vectors.npy")


@pytest.mark.process
@pytest.mark.skipif(OTHER is None, reason="needs ENTITY_OTHER_PYTHON, an interpreter with another transformers")
@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("is_carried_here", [True, False])
def test_folders_of_every_kind_open_in_the_other_version(
    is_carried_here: bool, towers: int, base_folder: Path, tmp_path: Path
) -> None:
    assert OTHER is not None
    version = run(OTHER, "-c", "import transformers; print(transformers.__version__)").stdout.strip()
    assert version.partition(".")[0] != transformers.__version__.partition(".")[0]
    writer, reader = (OTHER, sys.executable) if is_carried_here else (sys.executable, OTHER)
    kb, mentions = write_entities(tmp_path / "kb.jsonl"), write_mentions(tmp_path / "mentions.jsonl")
    trained, index, plain, standalone = (tmp_path / name for name in ("trained", "index", "plain", "standalone"))
    training = ["--kb", kb, "--train", mentions, "--epochs", 1, "--towers", towers, "--device", "cpu"]
    command(writer, "train", "--model", base_folder, *training, "--out", trained)
    command(writer, "index", kb, "--model", trained, "--out", index, "--device", "cpu")
    command(writer, "export", "--model", trained, "--out", plain, "--index", index)
    command(writer, "export", "--model", trained, "--out", standalone, "--standalone")
    expected = vectors(writer, "plugin", trained, tmp_path)
    ways = {trained: ["plugin"], plain: ["plugin", "sentence-transformers"], standalone: ["plugin", "standalone"]}
    for folder, way in [(folder, way) for folder, each in ways.items() for way in each]:
        np.testing.assert_allclose(vectors(reader, way, folder, tmp_path), expected, atol=1e-6)
    linking = ["--text", MARKED[0], "--json", "--device", "cpu"]
    linked = [
        json.loads(command(python, "link", *source, *linking))["mentions"][0]["candidates"]
        for python in (writer, reader)
        for source in (["--index", index], ["--model", plain])
    ]
    assert [[one["id"] for one in candidates] for candidates in linked] == [[one["id"] for one in linked[0]]] * 4
