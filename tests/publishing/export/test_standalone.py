"""Standalone folders: opened where only ModelScope, torch and transformers are, and beside the installed package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from minimal_environment import make_environment
from modelscope.pipelines import pipeline
from modelscope.utils.constant import Tasks

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.publishing.export.export_model import export_model
from modelscope_plugin.version import __version__

pytestmark = pytest.mark.process

MENTIONS = ["小品里 [ENT_S] 大鹏 [ENT_E] 很好笑", "苹果"]
ENTITIES = ["董成鹏； 类型： Person； 别名： 大鹏;", "长江"]
CALL = f"{{'source_sentence': {MENTIONS!r}, 'sentences_to_compare': {ENTITIES!r}}}"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment without this package."""
    return make_environment(tmp_path_factory.mktemp("minimal") / "env")


@pytest.fixture(scope="module")
def standalone(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that carries its code."""
    return export_model(model_folder, tmp_path_factory.mktemp("hub") / "carries-code", standalone=True).folder


@pytest.fixture(scope="module")
def expected(model_folder: Path) -> np.ndarray:
    encoder = EntityEncoder.from_pretrained(model_folder, device="cpu")
    return np.concatenate([encoder.encode_query(MENTIONS), encoder.encode_document(ENTITIES)])


def _run(python: Path | str, code: str, work: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MODELSCOPE_CACHE": str(work / "cache"), "HOME": str(work)}
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    command = [str(python), "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=300, check=False)


def _succeed(python: Path | str, code: str, work: Path, *arguments: object) -> str:
    result = _run(python, code, work, *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "registered in same file" not in result.stdout + result.stderr
    assert "not found in ast index" not in result.stdout + result.stderr
    return result.stdout


def test_environment_has_neither_this_package_nor_its_other_libraries(python: Path, tmp_path: Path) -> None:
    code = (
        "from importlib.util import find_spec\n"
        "print([find_spec(n) for n in ('modelscope_plugin', 'faiss', 'tabulate', 'sentence_transformers')])"
    )
    assert _succeed(python, code, tmp_path).strip() == "[None, None, None, None]"


def test_folder_runs_without_this_package(python: Path, standalone: Path, expected: np.ndarray, tmp_path: Path) -> None:
    code = f"""
import sys, numpy
from modelscope.pipelines import pipeline
pipe = pipeline('sentence-embedding', sys.argv[1], device='cpu', trust_remote_code=True)
result = pipe({CALL})
numpy.save('vectors.npy', result['text_embedding'])
offsets = pipe({{'source_sentence': [{{'text': '小品里大鹏很好笑', 'start': 3, 'end': 5}}]}})['text_embedding']
assert abs(offsets[0] - result['text_embedding'][0]).max() < 1e-5
try:
    pipe({{'source_sentence': ['[ENT_E] 大鹏']}})
except ValueError as error:
    print(error)
pipe.model.save_pretrained('saved')
"""
    assert "mark exactly one mention" in _succeed(python, code, tmp_path, standalone)
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), expected, atol=1e-5)
    saved = json.loads((tmp_path / "saved" / "configuration.json").read_text(encoding="utf-8"))
    own = json.loads((standalone / "configuration.json").read_text(encoding="utf-8"))
    assert own.pop("allow_remote") is True
    assert saved == own
    again = pipeline(Tasks.sentence_embedding, model=str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(again({"source_sentence": MENTIONS})["text_embedding"], expected[:2], atol=1e-5)


def test_folder_is_refused_without_the_trust_flag(python: Path, standalone: Path, tmp_path: Path) -> None:
    code = "import sys\nfrom modelscope.pipelines import pipeline\npipeline('sentence-embedding', sys.argv[1])"
    result = _run(python, code, tmp_path, standalone)
    assert result.returncode != 0
    assert "trust_remote_code=True" in result.stderr
    assert not (tmp_path / "cache" / "modelscope_modules").exists()


def test_two_folders_in_one_process(
    python: Path, standalone: Path, expected: np.ndarray, builtin_folder: Path, tmp_path: Path
) -> None:
    other = export_model(builtin_folder, tmp_path / "another", standalone=True).folder
    code = f"""
import sys, numpy
from modelscope.models import Model
from modelscope.pipelines import pipeline
model = Model.from_pretrained(sys.argv[1], device='cpu', trust_remote_code=True)
pipes = [pipeline('sentence-embedding', folder, device='cpu', trust_remote_code=True) for folder in sys.argv[1:]]
pipes.append(pipeline('sentence-embedding', model, device='cpu'))
for place, pipe in enumerate(pipes):
    numpy.save(f'vectors{{place}}.npy', pipe({CALL})['text_embedding'])
print(len({{type(pipe) for pipe in pipes}}))
"""
    assert _succeed(python, code, tmp_path, standalone, other).strip().endswith("1")
    encoder = EntityEncoder.from_pretrained(builtin_folder, device="cpu")
    yours = np.concatenate([encoder.encode_query(MENTIONS), encoder.encode_document(ENTITIES)])
    for place, vectors in enumerate((expected, yours, expected)):
        np.testing.assert_allclose(np.load(tmp_path / f"vectors{place}.npy"), vectors, atol=1e-5)


@pytest.mark.parametrize("imports", ["", "import modelscope_plugin  # used first"])
def test_installed_code_is_used_where_it_is_there(
    standalone: Path, expected: np.ndarray, model_folder: Path, builtin_folder: Path, tmp_path: Path, imports: str
) -> None:
    first = "pipeline('sentence-embedding', sys.argv[2], device='cpu')" if "first" in imports else ""
    code = f"""
{imports}
import sys, numpy
from modelscope.pipelines import pipeline
{first}
pipe = pipeline('sentence-embedding', sys.argv[1], device='cpu', trust_remote_code=True)
import modelscope_plugin
numpy.save('vectors.npy', pipe({CALL})['text_embedding'])
plain = [pipeline('sentence-embedding', folder, device='cpu') for folder in sys.argv[2:]]
print({{type(one).__module__ for one in (pipe, plain[0])}})
"""
    printed = _succeed(sys.executable, code, tmp_path, standalone, model_folder, builtin_folder)
    assert printed.strip().endswith("{'modelscope_plugin.modelscope_adapter.pipelines.sentence_embedding'}")
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), expected, atol=1e-5)


def test_our_own_classes_open_it_without_running_its_code(
    standalone: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    folder = tmp_path / "tampered"
    shutil.copytree(standalone, folder)
    (folder / "entity_embedding" / "errors.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    encoder = EntityEncoder.from_pretrained(folder, device="cpu")
    np.testing.assert_allclose(encoder.encode_query(MENTIONS), expected[:2], atol=1e-5)


def test_other_code_that_serves_the_process_is_told(
    python: Path, standalone: Path, builtin_folder: Path, tmp_path: Path
) -> None:
    other = export_model(builtin_folder, tmp_path / "another", standalone=True).folder
    for path in ("__init__.py", "modelscope_adapter/pipelines/base.py"):
        file = other / "entity_embedding" / path
        file.write_text(file.read_text(encoding="utf-8").replace('CODE = "', 'CODE = "other'), encoding="utf-8")
    (tmp_path / "modelscope_plugin" / "tests").mkdir(parents=True)  # a folder of that name is no installed package
    code = """
import sys
from modelscope.pipelines import pipeline
for folder in sys.argv[1:]:
    pipeline('sentence-embedding', folder, device='cpu', trust_remote_code=True)
"""
    result = _run(python, code, tmp_path, standalone, other)
    assert result.returncode == 0, result.stderr[-3000:]
    runs = f"carries_code.entity_embedding (version {__version__}) runs a model that carries code of"
    told = f"{runs} another.entity_embedding"
    assert told in result.stderr
    assert "not found in ast index" not in result.stdout + result.stderr


@pytest.mark.parametrize("name", ["json", "torch", "modelscope_plugin", "modeling", "data", "s"])
def test_name_that_modelscope_cannot_import_from_is_refused(name: str, model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not import code from a folder named"):
        export_model(model_folder, tmp_path / name, standalone=True)
    export_model(model_folder, tmp_path / name)
