"""What ModelScope knows after ``import modelscope_plugin``, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process


def _run(code: str, *arguments: object) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    # What ModelScope warns of where a class was registered behind its back.
    assert "not found in ast index" not in result.stdout + result.stderr
    return result.stdout


def test_import_brings_in_neither_modelscope_nor_torch() -> None:
    heavy = ("modelscope", "torch", "numpy", "faiss")
    code = f"import sys, modelscope_plugin; print([name for name in {heavy} if name in sys.modules])"
    assert _run(code).strip() == "[]"


def test_folder_of_version_0_1_finds_the_package_by_its_own_paths() -> None:
    code = """
import modelscope_plugin
from modelscope.utils.import_utils import LazyImportModule
entry = LazyImportModule.get_ast_index()["index"]["PIPELINES", "sentence-embedding", "entity-embedding"]
print(entry["module"].removesuffix(".pipelines.entity_embedding_pipeline"))
"""
    assert _run(code).split()[-1] == "modelscope_plugin"


@pytest.mark.parametrize("room", ["data", "retrieval", "linking.nil"])
def test_room_needs_no_torch(room: str) -> None:
    code = f"import sys, modelscope_plugin.{room}; print([m for m in ('modelscope', 'torch') if m in sys.modules])"
    assert _run(code).strip() == "[]"


@pytest.mark.parametrize(
    "imports",
    [
        "import modelscope_plugin; from modelscope.pipelines import pipeline",
        "from modelscope.pipelines import pipeline; import modelscope_plugin",
    ],
)
def test_own_names_work_without_a_warning_whatever_is_imported_first(model_folder: Path, imports: str) -> None:
    code = f"""
import sys
{imports}
pipe = pipeline('sentence-embedding', model=sys.argv[1], device='cpu')
print(type(pipe).__name__, pipe({{'source_sentence': ['大鹏']}})['text_embedding'].shape)
"""
    assert _run(code, model_folder).strip().endswith("EntityEmbeddingPipeline (1, 64)")


def test_model_and_preprocessor_load_through_modelscope(model_folder: Path) -> None:
    code = """
import sys, modelscope_plugin
from modelscope.models import Model
from modelscope.preprocessors import Preprocessor
model = Model.from_pretrained(sys.argv[1], device='cpu')
preprocessor = Preprocessor.from_pretrained(sys.argv[1])
batch = preprocessor({'source_sentence': ['[ENT_S]大鹏[ENT_E]'], 'sentences_to_compare': ['苹果', '长江']})
output = model.eval()(**batch)
print(type(model).__name__, tuple(output.query_embeddings.shape), tuple(output.doc_embeddings.shape))
"""
    assert _run(code, model_folder).strip().endswith("EntityEmbeddingModel (1, 64) (2, 64)")


def test_linking_pipeline_finds_its_model_through_the_index(index_folder: Path) -> None:
    code = """
import sys, modelscope_plugin
from modelscope.pipelines import pipeline
pipe = pipeline('entity-linking', index=sys.argv[1], device='cpu')
print(len(pipe('小品里[ENT_S]大鹏[ENT_E]')['mentions'][0]['candidates']))
"""
    assert _run(code, index_folder).strip().endswith("6")


def test_plain_transformers_folder_works_with_the_pipeline_named(base_folder: Path) -> None:
    code = """
import sys, modelscope_plugin
from modelscope.pipelines import pipeline
pipe = pipeline('sentence-embedding', model=sys.argv[1], pipeline_name='entity-embedding', device='cpu')
print(pipe('大鹏')['text_embedding'].shape)
"""
    assert _run(code, base_folder).strip().endswith("(1, 64)")
