from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ENTITIES, MENTIONS
from small_reranking import KINDS, rerank_settings

from modelscope_plugin.data import entity_text
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.encoding.cross_encoder import CrossEncoder
from modelscope_plugin.modeling.late_interaction import max_sim, pad_tokens, token_vectors
from modelscope_plugin.training.reranking.scorers import TrainableScorer, load_scorer

TEXTS = list(map(entity_text, ENTITIES))
LISTS = [[0, 1, 2], [3], [5, 0]]


def _load(folder: Path, kind: str, **changes: object) -> TrainableScorer:
    scorer = load_scorer(folder, rerank_settings(type=kind, **changes), torch.device("cpu"))
    scorer.model.eval()
    return scorer


def test_late_interaction_scores_are_those_of_each_pair_alone(model_folder: Path) -> None:
    scores = _load(model_folder, "late-interaction").score(MENTIONS[:3], TEXTS, LISTS)
    encoder = EntityEncoder.from_pretrained(model_folder, device="cpu")
    for row, candidates in enumerate(LISTS):
        for column, position in enumerate(candidates):
            inputs = [
                pad_tokens(encoder.tokenizer, "mention", encoder.tokenizer.mention_ids([MENTIONS[row]])),
                pad_tokens(encoder.tokenizer, "entity", encoder.tokenizer.entity_ids([TEXTS[position]])),
            ]
            masks = [one.pop("token_mask") for one in inputs]
            vectors = [
                token_vectors(encoder.model, "mention", **inputs[0]),
                token_vectors(encoder.model, "entity", **inputs[1]),
            ]
            expected = max_sim(vectors[0], masks[0], vectors[1], masks[1])[0] / 0.05
            torch.testing.assert_close(scores[row, column], expected, atol=1e-4, rtol=0)


def test_cross_encoder_scores_are_those_of_prediction(model_folder: Path, tmp_path: Path) -> None:
    scorer = _load(model_folder, "cross-encoder")
    scores = scorer.score(MENTIONS[:3], TEXTS, LISTS)
    scorer.write_folder(tmp_path / "written", {})
    reader = CrossEncoder.from_pretrained(tmp_path / "written", device="cpu")
    pairs = [(MENTIONS[row], TEXTS[one]) for row, candidates in enumerate(LISTS) for one in candidates]
    np.testing.assert_allclose(scores[torch.isfinite(scores)].detach().numpy(), reader.predict(pairs), atol=1e-5)
    assert scorer.fingerprint == reader.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_lists_are_padded_with_minus_infinity(model_folder: Path, kind: str) -> None:
    scores = _load(model_folder, kind).score(MENTIONS[:3], TEXTS, LISTS)
    assert torch.isfinite(scores).tolist() == [[True, True, True], [True, False, False], [True, True, False]]


def test_window_of_a_cross_encoder_is_twice_that_of_its_dual_encoder(model_folder: Path, tmp_path: Path) -> None:
    for name, changes, expected in (("double", {}, 256), ("given", {"max_length": 40}, 40)):
        scorer = _load(model_folder, "cross-encoder", **changes)
        scorer.write_folder(tmp_path / name, {})
        limit = CrossEncoder.from_pretrained(tmp_path / name, device="cpu").model.max_positions
        assert CrossEncoder.from_pretrained(tmp_path / name, device="cpu").max_length == min(expected, limit)
    # A cross encoder keeps its own.
    _load(tmp_path / "given", "cross-encoder").write_folder(tmp_path / "again", {})
    assert CrossEncoder.from_pretrained(tmp_path / "again", device="cpu").max_length == 40


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_without_markers_gets_them(unmarked_folder: Path, tmp_path: Path, kind: str) -> None:
    scorer = _load(unmarked_folder, kind)
    twin = _load(unmarked_folder, kind)
    assert scorer.fingerprint == twin.fingerprint
    torch.testing.assert_close(
        scorer.score(MENTIONS[:3], TEXTS, LISTS), twin.score(MENTIONS[:3], TEXTS, LISTS), equal_nan=True
    )
