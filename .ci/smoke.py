"""What an installed package must be able to do; run it from outside the repository."""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from modelscope.pipelines import pipeline

import modelscope_plugin
from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.data import entity_text, read_entities
from modelscope_plugin.data.sample import sample_file
from modelscope_plugin.modeling.random_model import write_random_bert

MARKED = "我想买一斤 [ENT_S] 苹果 [ENT_E]"


def entity(*arguments: object) -> str:
    """Run ``modelscope entity`` as users do."""
    command = Path(sys.executable).with_name("modelscope")
    return subprocess.run(
        [sys.executable, command, "entity", *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def main(folder: Path) -> None:
    """Index and link with the command, embed with the pipeline, compare the two."""
    assert Path(modelscope_plugin.__file__).is_relative_to(sys.prefix), modelscope_plugin.__file__
    assert modelscope_plugin.__version__ == version("modelscope_plugin") == entity("--version").split()[-1]
    entities = list(read_entities(sample_file("entities")))
    texts = {each.id: entity_text(each) for each in entities}
    model = folder / "model"
    model.mkdir()
    write_random_bert(model, texts.values(), layers=1)
    (model / "configuration.json").write_text(json.dumps(default_configuration()), encoding="utf-8")
    entity("index", sample_file("entities"), "--model", model, "--out", folder / "index")
    linked = json.loads(entity("link", "--index", folder / "index", "--retrieval", "dense", "--text", MARKED, "--json"))
    best = linked["mentions"][0]["candidates"][0]
    pipe = pipeline("sentence-embedding", model=str(model), device="cpu")
    result = pipe({"source_sentence": [MARKED], "sentences_to_compare": [texts[best["id"]]]})
    np.testing.assert_allclose(result["scores"], [best["score"]], atol=1e-3)
    print(f"modelscope_plugin {modelscope_plugin.__version__} from {sys.prefix}: indexes, links and embeds")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
