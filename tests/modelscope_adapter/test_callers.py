"""Libraries that call the sentence-embedding pipeline with source sentences only, and the habits they have."""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import ENTITIES
from modelscope.pipelines import pipeline

from modelscope_plugin.data import entity_text
from modelscope_plugin.encoding import EntityEncoder

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # langchain-community says that it gets no new features
    from langchain_community.embeddings import ModelScopeEmbeddings

QUERY = "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"
DOCUMENTS = [entity_text(entity) for entity in ENTITIES]


@pytest.mark.parametrize("folder", ["model_folder", "builtin_folder"])
def test_langchain_gets_the_vectors_of_the_encoder(request: pytest.FixtureRequest, folder: str) -> None:
    path: Path = request.getfixturevalue(folder)
    embeddings = ModelScopeEmbeddings(model_id=str(path))
    encoder = EntityEncoder.from_pretrained(path, device="cpu")
    # The vocabulary of the built-in folder has no markers; there the plain name is asked for.
    query = QUERY if folder == "model_folder" else "大鹏"
    np.testing.assert_allclose(embeddings.embed_query(query), encoder.encode_query([query])[0], atol=1e-4)
    np.testing.assert_allclose(embeddings.embed_documents(DOCUMENTS), encoder.encode_document(DOCUMENTS), atol=1e-4)


def test_langchain_gets_lists_of_floats(model_folder: Path) -> None:
    embeddings = ModelScopeEmbeddings(model_id=str(model_folder))
    (vector,) = embeddings.embed_documents(["第一行\n第二行"])
    assert isinstance(vector, list)
    assert {type(value) for value in vector} == {float}
    assert embeddings.embed_documents([]) == []


def test_langchain_embeds_asynchronously(model_folder: Path) -> None:
    embeddings = ModelScopeEmbeddings(model_id=str(model_folder))

    async def embed() -> list[list[float]]:
        return await asyncio.gather(*(embeddings.aembed_query(text) for text in DOCUMENTS))

    np.testing.assert_allclose(asyncio.run(embed()), embeddings.embed_documents(DOCUMENTS), atol=1e-5)


def test_llama_index_habits(model_folder: Path, encoder: EntityEncoder) -> None:
    # llama-index-embeddings-modelscope: a revision and a length at construction, the input by position.
    pipe = pipeline(task="sentence-embedding", model=str(model_folder), model_revision="master", sequence_length=128)
    one = pipe({"source_sentence": [QUERY]})["text_embedding"][0].tolist()
    many = [vector.tolist() for vector in pipe({"source_sentence": DOCUMENTS})["text_embedding"]]
    np.testing.assert_allclose(one, encoder.encode_query([QUERY])[0], atol=1e-5)
    np.testing.assert_allclose(many, encoder.encode_document(DOCUMENTS), atol=1e-5)
