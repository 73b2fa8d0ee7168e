from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ENTITIES, MENTIONS, write_cross_encoder
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Mention, entity_text, mark_mention
from modelscope_plugin.encoding import cross_encoder as cross_encoder_module
from modelscope_plugin.encoding.backends import torch_backend
from modelscope_plugin.encoding.backends.packed_linear import PackedLinear, pack_cross_encoder
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.errors import InputError, InputTypeError, MissingFileError, ModelFolderError
from modelscope_plugin.modeling.random_model import write_random_bert

PAIRS = [(mention, entity) for mention in MENTIONS for entity in ENTITIES]


@pytest.fixture(scope="module")
def scorer(cross_encoder_folder: Path) -> CrossEncoder:
    """The cross encoder of the folder."""
    return CrossEncoder.from_pretrained(cross_encoder_folder, device="cpu")


def _one_by_one(scorer: CrossEncoder, pairs: list[tuple[str, str]]) -> np.ndarray:
    """The plain computation: each pair alone, tokenised by the tokenizer itself, no padding."""
    scores = []
    for pair in pairs:
        inputs = scorer.tokenizer.tokenizer.tokenizer(*pair, truncation=True, max_length=128, return_tensors="pt")
        with torch.no_grad():
            scores.append(scorer.model.model(**inputs).logits[0, 0].item())
    return np.array(scores, dtype=np.float32)


def test_predict_equals_plain_computation(scorer: CrossEncoder) -> None:
    expected = _one_by_one(scorer, [(mark_mention(mention), entity_text(entity)) for mention, entity in PAIRS])
    scores = scorer.predict(PAIRS)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert (scores.dtype, scores.shape) == (np.float32, (36,))
    assert np.ptp(scores) > 1e-3


def test_large_job_gives_the_same_scores(scorer: CrossEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scorer.predict(PAIRS)
    monkeypatch.setattr(torch_backend, "_TOKENS_WORTH_PACKING", 0)
    np.testing.assert_allclose(scorer.predict(PAIRS), expected, atol=1e-5)
    packed = pack_cross_encoder(scorer.model)
    assert any(isinstance(module, PackedLinear) for module in packed.modules())
    assert not any(isinstance(module, PackedLinear) for module in scorer.model.modules())


TEXTS = st.text("大鹏苹果长江，abc", max_size=30)


@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), max_size=12), batch_size=st.integers(1, 5))
def test_scores_are_in_input_order_whatever_the_batches(
    scorer: CrossEncoder, pairs: list[tuple[str, str]], batch_size: int
) -> None:
    together = scorer.predict(pairs, batch_size=batch_size)
    alone = [scorer.predict([pair])[0] for pair in pairs]
    np.testing.assert_allclose(together, np.array(alone, dtype=np.float32), atol=1e-5)


def test_equal_pairs_are_scored_once_however_far_apart(scorer: CrossEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_encoder_module, "_CHUNK", 2)
    seen = []
    score = scorer.model.score
    monkeypatch.setattr(scorer.model, "score", lambda ids, *rest: seen.append(len(ids)) or score(ids, *rest))
    scores = scorer.predict([("大鹏", "苹果"), ("苹果", "大鹏"), ("大鹏苹", "果"), ("大鹏", "苹果"), ("大鹏", "苹果")])
    assert sum(seen) == 3
    assert scores[0] == scores[3] == scores[4]
    assert len(set(scores.tolist())) == 3


def test_same_tokens_split_elsewhere_are_another_pair(scorer: CrossEncoder) -> None:
    one, other = scorer.predict([("大[SEP]鹏", "苹果"), ("大", "鹏[SEP]苹果")])
    np.testing.assert_allclose(
        [one, other], _one_by_one(scorer, [("大[SEP]鹏", "苹果"), ("大", "鹏[SEP]苹果")]), atol=1e-5
    )


def test_marked_text_and_mention_give_the_same_score(scorer: CrossEncoder) -> None:
    scores = scorer.predict([("小品里[ENT_S] 大鹏[ENT_E]很好笑", "苹果"), (Mention("小品里大鹏很好笑", 3, 5), "苹果")])
    assert scores[0] == scores[1]


def test_nothing_gives_no_scores(scorer: CrossEncoder) -> None:
    assert scorer.predict([]).shape == (0,)


def test_mention_beyond_the_window_still_decides_the_score(scorer: CrossEncoder) -> None:
    scores = scorer.predict([("长" * 300 + f"[ENT_S]{name}[ENT_E]", "苹果" * 100) for name in ("大鹏", "苹果")])
    assert abs(scores[0] - scores[1]) > 1e-4


def test_scoring_leaves_training_mode_as_it_was(scorer: CrossEncoder) -> None:
    scorer.model.train()
    try:
        first, second = scorer.predict(PAIRS), scorer.predict(PAIRS)
        assert scorer.model.training
        assert np.array_equal(first, second)
    finally:
        scorer.model.eval()


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("大鹏", "put it in a list"),
        (None, "put it in a list"),
        (["大鹏"], "pair 0 must be a mention and an entity text, not str"),
        ([("大", "鹏"), ("大", "鹏", "苹")], "pair 1 must be a mention and an entity text"),
        ([("大", "鹏"), (3, "鹏")], "the mention of pair 1 must be a string or a Mention, not int"),
        ([("大", None)], "the entity of pair 0 must be a string or an Entity, not NoneType"),
    ],
)
def test_what_is_no_list_of_pairs_raises(scorer: CrossEncoder, pairs: object, message: str) -> None:
    with pytest.raises(InputTypeError, match=message):
        scorer.predict(pairs)  # type: ignore[arg-type]


def test_markers_that_are_no_pair_raise(scorer: CrossEncoder) -> None:
    with pytest.raises(InputError, match="text 1"):
        scorer.predict([("大鹏", "苹果"), ("大[ENT_S]鹏", "苹果")])


@pytest.mark.parametrize("batch_size", [0, -1, 2.5])
def test_bad_batch_size_raises(scorer: CrossEncoder, batch_size: object) -> None:
    with pytest.raises(InputError, match="batch_size="):
        scorer.predict(PAIRS, batch_size=batch_size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "keywords", [{"max_length": 0}, {"max_length": 129}, {"device": "nowhere"}, {"backend": "jax"}, {"dtype": "int4"}]
)
def test_bad_keyword_of_loading_raises(cross_encoder_folder: Path, keywords: dict[str, object]) -> None:
    with pytest.raises(InputError):
        CrossEncoder.from_pretrained(cross_encoder_folder, **keywords)  # type: ignore[arg-type]


def test_missing_model_and_folder_without_head_raise(base_folder: Path) -> None:
    with pytest.raises(MissingFileError):
        CrossEncoder.from_pretrained("/no/such/folder")
    with pytest.raises(ModelFolderError, match="train a re-ranker"):
        CrossEncoder.from_pretrained(base_folder)


def test_model_that_scores_all_pairs_alike_raises(cross_encoder_folder: Path, tmp_path: Path) -> None:
    scorer = CrossEncoder.from_pretrained(cross_encoder_folder, device="cpu")
    with torch.no_grad():
        scorer.model.model.classifier.weight.zero_()
    scorer.save_pretrained(tmp_path / "zero")
    with pytest.raises(ModelFolderError, match="gives different pairs the same score"):
        CrossEncoder.from_pretrained(tmp_path / "zero")


def test_saved_folder_gives_the_same_scores(scorer: CrossEncoder, tmp_path: Path) -> None:
    scorer.tokenizer.tokenizer.mention_prefix = "苹"
    try:
        scorer.save_pretrained(tmp_path / "saved")
        again = CrossEncoder.from_pretrained(tmp_path / "saved", device="cpu")
        assert again.tokenizer.tokenizer.mention_prefix == "苹"
        np.testing.assert_allclose(again.predict(PAIRS), scorer.predict(PAIRS), atol=1e-5)
    finally:
        scorer.tokenizer.tokenizer.mention_prefix = ""
    configuration = json.loads((tmp_path / "saved" / "configuration.json").read_text())
    assert (configuration["task"], configuration["model"]["type"]) == ("text-ranking", "entity-cross-encoder")


def test_fingerprint_follows_prefixes_and_not_the_window(cross_encoder_folder: Path, tmp_path: Path) -> None:
    first = CrossEncoder.from_pretrained(cross_encoder_folder, device="cpu", max_length=40)
    assert first.fingerprint == CrossEncoder.from_pretrained(cross_encoder_folder, device="cpu").fingerprint
    copy = Path(shutil.copytree(cross_encoder_folder, tmp_path / "copy"))
    configuration = json.loads((copy / "configuration.json").read_text())
    configuration["preprocessor"]["boq"] = "苹"
    (copy / "configuration.json").write_text(json.dumps(configuration))
    assert CrossEncoder.from_pretrained(copy, device="cpu").fingerprint != first.fingerprint


def test_16_bit_arithmetic_gives_float32_scores_close_by(cross_encoder_folder: Path, scorer: CrossEncoder) -> None:
    half = CrossEncoder.from_pretrained(cross_encoder_folder, device="cpu", dtype="bfloat16").predict(PAIRS)
    expected = scorer.predict(PAIRS)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - expected).max() < 0.1


def test_pickled_cross_encoder_gives_the_same_scores(scorer: CrossEncoder) -> None:
    copy = pickle.loads(pickle.dumps(scorer))
    assert copy.fingerprint == scorer.fingerprint
    np.testing.assert_allclose(copy.predict(PAIRS), scorer.predict(PAIRS), atol=1e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_model_gives_the_plain_scores(tmp_path: Path) -> None:
    write_random_bert(tmp_path / "base", texts=["大鹏苹果长江"], hidden_size=64, layers=1)
    write_cross_encoder(tmp_path / "base", tmp_path / "model")
    plain, compiled = (
        CrossEncoder.from_pretrained(tmp_path / "model", device="cpu", compile=each) for each in (False, True)
    )
    pairs = [("大鹏", "苹果"), ("大鹏", "长江大鹏"), ("苹果", "")]
    np.testing.assert_allclose(compiled.predict(pairs), plain.predict(pairs), atol=1e-5)
    with pytest.raises(InputTypeError, match="load it again in each process"):
        pickle.dumps(compiled)
