"""Tiny models and data, built here: no test needs a network or a downloaded checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# Before any library reads them, and inherited by every process that a test starts: nothing may leave this machine, a
# stray hub call fails at once, and tiny models are not slowed down by threads that wait for each other.
os.environ.update(
    HF_HUB_OFFLINE="1", MODELSCOPE_DOMAIN="127.0.0.1:9", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1"
)

import pytest
from hypothesis import settings

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.data import Entity, Mention

if TYPE_CHECKING:  # many tests need neither torch nor a model, and run where there is no torch
    from modelscope_plugin.encoding import EntityEncoder
    from modelscope_plugin.retrieval import EntityIndex

settings.register_profile("package", deadline=None, max_examples=60)
settings.load_profile("package")

ENTITIES = [
    Entity("apple-inc", "苹果", ("苹果公司",), ("Organization",), "美国科技公司，生产手机和电脑。"),
    Entity("apple-fruit", "苹果", (), ("Food",), "蔷薇科植物的果实，脆甜多汁。"),
    Entity("apple-film", "苹果", ("迷失北京",), ("Work",), "二〇〇七年的剧情电影。"),
    Entity("dapeng", "董成鹏", ("大鹏", "Da Peng"), ("Person",), "内地演员和导演，吉林集安人。"),
    Entity("roc", "大鹏", ("鲲鹏",), ("VirtualThings",), "庄子笔下的神鸟，一飞九万里。"),
    Entity("river", "长江", ("扬子江",), ("Location",), "亚洲最长的河流，流经上海入海。"),
]
MENTIONS = [
    Mention("今天苹果发布了新手机和电脑", 2, 4, ("apple-inc",)),
    Mention("这斤苹果脆甜多汁", 2, 4, ("apple-fruit",)),
    Mention("迷失北京是一部剧情电影", 0, 4, ("apple-film",)),
    Mention("小品里大鹏这个演员很好笑", 3, 5, ("dapeng",)),
    Mention("大鹏是一飞九万里的神鸟", 0, 2, ("roc",)),
    Mention("坐船沿长江到上海入海", 3, 5, ("river",)),
]
VOCABULARY_TEXT = (
    "，。；：、《》！？ 类型别名宋小宝品美人鱼上演生死离别关键时刻登场abcdefghijklmnopqrstuvwxyz0123456789[]_"
)


def write_entities(path: Path, entities: list[Entity] = ENTITIES) -> Path:
    """Write a knowledge base in this package's own form."""
    path.write_text("".join(json.dumps(e.to_record(), ensure_ascii=False) + "\n" for e in entities), encoding="utf-8")
    return path


def write_mentions(path: Path, mentions: list[Mention] = MENTIONS) -> Path:
    """Write mentions in this package's own form."""
    records = [
        {"text": m.text, "start": m.start, "end": m.end, "entity_ids": list(m.entity_ids) or [m.nil]} for m in mentions
    ]
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


def write_cross_encoder(base_folder: Path, folder: Path, max_length: int = 128) -> Path:
    """Write the folder of a cross encoder: the base checkpoint with a random head, larger than a new one."""
    import torch

    from modelscope_plugin.encoding.cross_encoder import CrossEncoder
    from modelscope_plugin.modeling.checkpoint_files import load_pair_tokenizer
    from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel

    model = CrossEncoderModel.from_pretrained(base_folder, seed=1)
    with torch.no_grad():
        model.model.classifier.weight.mul_(20)
    CrossEncoder(model, load_pair_tokenizer(base_folder, max_length)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights whose vocabulary has the markers; no configuration.json."""
    from modelscope_plugin.modeling.random_model import write_random_bert

    folder = tmp_path_factory.mktemp("base")
    texts = [m.text for m in MENTIONS] + [VOCABULARY_TEXT]
    texts += [e.name + "".join(e.aliases) + "".join(e.types) + e.description for e in ENTITIES]
    write_random_bert(folder, texts, hidden_size=64)
    return folder


@pytest.fixture(scope="session")
def unmarked_folder(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a vocabulary that lacks the markers."""
    folder = tmp_path_factory.mktemp("unmarked")
    shutil.copytree(base_folder, folder, dirs_exist_ok=True)
    vocabulary = (base_folder / "vocab.txt").read_text(encoding="utf-8")
    vocabulary = vocabulary.replace("[ENT_S]", "[unused1]").replace("[ENT_E]", "[unused2]")
    (folder / "vocab.txt").write_text(vocabulary, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def model_folder(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this package: the base checkpoint with a configuration.json of ours."""
    folder = tmp_path_factory.mktemp("model")
    shutil.copytree(base_folder, folder, dirs_exist_ok=True)
    (folder / "configuration.json").write_text(json.dumps(default_configuration()), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def builtin_folder(unmarked_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the hub has it: built-in types, an old ModelScope ``pytorch_model.bin`` with ``bert.`` keys."""
    folder = tmp_path_factory.mktemp("builtin")
    shutil.copytree(unmarked_folder, folder, dirs_exist_ok=True)
    import torch
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    torch.save({f"bert.{name}": value for name, value in weights.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    configuration = {
        "framework": "pytorch",
        "task": "sentence-embedding",
        "model": {"type": "bert"},
        "pipeline": {"type": "sentence-embedding"},
        "preprocessor": {"type": "sentence-embedding"},
    }
    (folder / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def cross_encoder_folder(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cross encoder with random weights."""
    return write_cross_encoder(base_folder, tmp_path_factory.mktemp("cross-encoder"))


@pytest.fixture(scope="session")
def encoder(model_folder: Path) -> EntityEncoder:
    """The encoder of the model folder."""
    from modelscope_plugin.encoding import EntityEncoder

    return EntityEncoder.from_pretrained(model_folder, device="cpu")


@pytest.fixture(scope="session")
def index_folder(encoder: EntityEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the entities above, on disk."""
    from modelscope_plugin.retrieval.building import build_index

    folder = tmp_path_factory.mktemp("index") / "index"
    build_index(encoder, ENTITIES, show_progress_bar=False).save(folder)
    return folder


@pytest.fixture
def index(index_folder: Path) -> EntityIndex:
    """That index, opened."""
    from modelscope_plugin.retrieval import EntityIndex

    return EntityIndex.load(index_folder)


@pytest.fixture
def kb_file(tmp_path: Path) -> Path:
    """The entities above as a file."""
    return write_entities(tmp_path / "kb.jsonl")


@pytest.fixture
def mentions_file(tmp_path: Path) -> Path:
    """The mentions above as a file."""
    return write_mentions(tmp_path / "mentions.jsonl")


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
