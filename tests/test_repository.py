"""The top of the repository is itself in the form of a model of the hub: metadata, card, configuration.json."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path

import pytest
import yaml

from modelscope_plugin.config.configuration import CONFIGURATION_FILE, default_configuration
from modelscope_plugin.config.metainfo import Models, Pipelines, Preprocessors, Tasks

TOP = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def readme() -> tuple[dict[str, object], str]:
    _, metadata, text = (TOP / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(metadata), text


def test_readme_carries_the_metadata_of_the_hub(readme: tuple[dict[str, object], str]) -> None:
    metadata, text = readme
    assert metadata["tasks"] == [Tasks.sentence_embedding]
    assert metadata["license"] == "apache-2.0"
    assert metadata["frameworks"] == ["pytorch"]
    assert len(text) > 200


def test_configuration_at_the_top_is_the_one_that_models_are_made_from() -> None:
    configuration = json.loads((TOP / CONFIGURATION_FILE).read_text(encoding="utf-8"))
    assert configuration == default_configuration()
    assert configuration["task"] == Tasks.sentence_embedding
    assert configuration["framework"] == "pytorch"
    kinds = [configuration[section]["type"] for section in ("model", "preprocessor", "pipeline")]
    assert kinds == [Models.entity_embedding, Preprocessors.entity_embedding, Pipelines.entity_embedding]


@pytest.mark.parametrize(
    "command",
    [
        "pip install -c constraints.txt . && modelscope entity demo",
        "pip install -c constraints.txt '.[test]' && python -m pytest -n auto",
    ],
)
def test_both_readmes_and_ci_have_the_same_two_lines(command: str) -> None:
    for name in ("README.md", "README.zh-CN.md", ".ci/run"):
        path = TOP / name
        if path.exists():  # .ci is not part of the sdist
            assert path.read_text(encoding="utf-8").splitlines().count(command) == 1, name


@pytest.mark.parametrize("benchmark", sorted((TOP / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_what_a_benchmark_imports_from_the_package_is_there(benchmark: Path) -> None:
    tree = ast.parse(benchmark.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    for node in (node for node in imports if node.module.partition(".")[0] == "modelscope_plugin"):
        module = importlib.import_module(node.module)
        assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
