from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ENTITIES, MENTIONS
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Mention, entity_text, mark_mention
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.encoding import encoder as encoder_module
from modelscope_plugin.encoding.encoder import iterate_documents
from modelscope_plugin.encoding.protocol import Encoder
from modelscope_plugin.errors import InputError, InputTypeError, MissingFileError


def _one_by_one(encoder: EntityEncoder, texts: list[str]) -> np.ndarray:
    """The plain computation: each text alone, tokenised by the tokenizer itself, no padding."""
    rows = []
    for text in texts:
        inputs = encoder.tokenizer.tokenizer(text, truncation=True, max_length=128, return_tensors="pt")
        with torch.no_grad():
            rows.append(encoder.model.mention_tower(**inputs).last_hidden_state[0, 0].numpy())
    return np.stack(rows)


def test_encode_query_equals_plain_computation(encoder: EntityEncoder) -> None:
    expected = _one_by_one(encoder, [mark_mention(mention) for mention in MENTIONS])
    np.testing.assert_allclose(encoder.encode_query(MENTIONS), expected, atol=1e-5)


def test_encode_document_equals_plain_computation(encoder: EntityEncoder) -> None:
    expected = _one_by_one(encoder, [entity_text(entity) for entity in ENTITIES])
    np.testing.assert_allclose(encoder.encode_document(ENTITIES), expected, atol=1e-5)


def test_vectors_are_contiguous_float32(encoder: EntityEncoder) -> None:
    vectors = encoder.encode_query(MENTIONS)
    assert (vectors.dtype, vectors.flags.c_contiguous, vectors.shape) == (np.float32, True, (6, 64))


@given(texts=st.lists(st.text("大鹏苹果长江，abc", max_size=30), max_size=12), batch_size=st.integers(1, 5))
def test_rows_are_in_input_order_whatever_the_batches(
    encoder: EntityEncoder, texts: list[str], batch_size: int
) -> None:
    together = encoder.encode_document(texts, batch_size=batch_size)
    alone = [encoder.encode_document([text])[0] for text in texts]
    np.testing.assert_allclose(together, np.stack(alone) if alone else np.empty((0, 64)), atol=1e-5)


def test_equal_texts_are_encoded_once(encoder: EntityEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    embed = encoder.model.embed
    monkeypatch.setattr(
        encoder.model, "embed", lambda side, **kw: seen.append(len(kw["input_ids"])) or embed(side, **kw)
    )
    vectors = encoder.encode_document(["大鹏", "苹果", "大鹏", "大鹏"])
    assert sum(seen) == 2
    assert np.array_equal(vectors[0], vectors[3])


def test_nothing_gives_no_rows(encoder: EntityEncoder) -> None:
    assert encoder.encode_query([]).shape == (0, 64)


def test_marked_text_and_mention_give_the_same_vector(encoder: EntityEncoder) -> None:
    vectors = encoder.encode_query(["小品里[ENT_S] 大鹏[ENT_E]很好笑", Mention("小品里大鹏很好笑", 3, 5)])
    assert np.array_equal(vectors[0], vectors[1])


def test_mention_beyond_the_window_still_decides_the_vector(encoder: EntityEncoder) -> None:
    far = ["长" * 300 + f"[ENT_S]{name}[ENT_E]" for name in ("大鹏", "苹果")]
    vectors = encoder.encode_query(far)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4


def test_encoding_leaves_training_mode_as_it_was(encoder: EntityEncoder) -> None:
    encoder.model.train()
    try:
        first, second = encoder.encode_query(["大鹏"]), encoder.encode_query(["大鹏"])
        assert encoder.model.training
        assert np.array_equal(first, second)
    finally:
        encoder.model.eval()


def test_one_string_in_place_of_a_list_raises(encoder: EntityEncoder) -> None:
    with pytest.raises(InputTypeError, match="put it in a list"):
        encoder.encode_query("大鹏")


@pytest.mark.parametrize("items", [{"text": "大鹏"}, b"abc", None, 5, [{"text": "大鹏"}], [None], [["大鹏"]]])
def test_what_is_no_list_of_texts_raises(encoder: EntityEncoder, items: object) -> None:
    for encode in (encoder.encode_query, encoder.encode_document):
        with pytest.raises(InputTypeError):
            encode(items)  # type: ignore[operator]


@pytest.mark.parametrize(
    "keywords",
    [{"max_length": 0}, {"trust_remote_code": True}, {"device": ""}, {"device": 0}, {"device": torch.device("meta")}],
)
def test_bad_keyword_of_loading_raises(model_folder: Path, keywords: dict[str, object]) -> None:
    with pytest.raises(InputError):
        EntityEncoder.from_pretrained(model_folder, **keywords)  # type: ignore[arg-type]


@pytest.mark.parametrize("blank", [" ", "\u3000", "\n", "\t "])
@pytest.mark.parametrize("text", ["{}大鹏", "大鹏{}苹果", "{}大鹏{}苹果{}"])
def test_no_run_of_blanks_hides_a_text(encoder: EntityEncoder, blank: str, text: str) -> None:
    many, few = text.replace("{}", blank * 20_000), text.replace("{}", " ")
    marked = [f"{many}[ENT_S]{many}长江{many}[ENT_E]{many}", f"{few}[ENT_S]长江[ENT_E]{few}"]
    np.testing.assert_allclose(*encoder.encode_document([many, few]), atol=1e-5)
    np.testing.assert_allclose(*encoder.encode_query([many, few]), atol=1e-5)
    if not text.startswith("大"):
        mentions = [Mention(f"{many}长江{many}", len(many), len(many) + 2), marked[1]]
        np.testing.assert_allclose(*encoder.encode_query(mentions), atol=1e-5)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5])
def test_bad_batch_size_raises(encoder: EntityEncoder, batch_size: object) -> None:
    with pytest.raises(InputError, match="batch_size="):
        encoder.encode_query(["大鹏"], batch_size=batch_size)  # type: ignore[arg-type]


def test_window_longer_than_the_model_raises(model_folder: Path) -> None:
    with pytest.raises(InputError, match="max_length=129 is more than the 128 positions"):
        EntityEncoder.from_pretrained(model_folder, max_length=129)


def test_missing_model_raises() -> None:
    with pytest.raises(MissingFileError):
        EntityEncoder.from_pretrained("/no/such/folder")


def test_iterate_documents_keeps_order(encoder: EntityEncoder) -> None:
    chunks = list(iterate_documents(encoder, iter(ENTITIES)))
    assert [entity for chunk, _ in chunks for entity in chunk] == ENTITIES
    np.testing.assert_array_equal(np.concatenate([v for _, v in chunks]), encoder.encode_document(ENTITIES))


def test_equal_texts_far_apart_are_encoded_once(encoder: EntityEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "_CHUNK", 2)
    seen = []
    embed = encoder.model.embed
    monkeypatch.setattr(
        encoder.model, "embed", lambda side, **kw: seen.append(len(kw["input_ids"])) or embed(side, **kw)
    )
    vectors = encoder.encode_document(["大鹏", "苹果", "长江", "大鹏", "苹果"])
    assert sum(seen) == 3
    assert np.array_equal(vectors[:2], vectors[3:])
    np.testing.assert_allclose(vectors[2], encoder.encode_document(["长江"])[0], atol=1e-5)


def test_an_encoder_has_what_the_protocol_names(encoder: EntityEncoder) -> None:
    typed: Encoder = encoder
    assert (typed.dimension, typed.max_length, typed.name) == (64, 128, encoder.name)


def test_pickled_encoder_gives_the_same_vectors(encoder: EntityEncoder) -> None:
    copy = pickle.loads(pickle.dumps(encoder))
    assert copy.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(copy.encode_query(MENTIONS), encoder.encode_query(MENTIONS))
