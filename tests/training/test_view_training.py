from __future__ import annotations

import contextlib
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ENTITIES, MENTIONS
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.config.configuration import default_configuration
from modelscope_plugin.config.training_settings import read_training_settings
from modelscope_plugin.data import Entity
from modelscope_plugin.data.views import ViewSettings, entity_views
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.training.epoch_batches import Batch, Batches
from modelscope_plugin.training.examples import EntityTokens, Examples
from modelscope_plugin.training.gradients import GradientComputer
from modelscope_plugin.training.hard_negative_mining import mine_negatives
from modelscope_plugin.training.losses import contrastive_loss
from modelscope_plugin.training.process_group import ProcessGroup
from modelscope_plugin.training.training import train

LOSS = partial(contrastive_loss, temperature=0.5, symmetric=True)
# From one view to five.
LONGER = [
    Entity("bare", "名"),
    Entity("several", "大鹏", (), (), "今天苹果。上演生死。很好笑。", (("类型", "神鸟"),)),
    *ENTITIES,
]


@pytest.fixture(scope="module")
def trained(base_folder: Path) -> EntityEncoder:
    return EntityEncoder.from_pretrained(base_folder, device="cpu", emb_pooler_type="avg")


@pytest.fixture(scope="module")
def batch(trained: EntityEncoder) -> Batch:
    """All mentions, with entities of different numbers of views as candidates."""
    mentions = [MENTIONS[0], *MENTIONS[2:]]
    examples = Examples(LONGER, mentions, trained.tokenizer, whole=True, views=9)
    return next(iter(Batches(examples, 5, 0, random_negatives=40).epoch(0)))


@given(st.lists(st.integers(1, 4), min_size=2, max_size=6), st.integers(0, 99), st.booleans())
def test_loss_takes_the_best_view_and_never_padding(counts: list[int], seed: int, symmetric: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    mentions = torch.randn(2, 8, generator=generator, requires_grad=True)
    vectors = torch.randn(sum(counts), 8, generator=generator) - 1
    # What padding would win with, were it counted.
    vectors[0] = 100 * mentions.detach().sum(0)
    order = torch.randperm(sum(counts), generator=generator).tolist()
    own = [[order.pop() for _ in range(count)] for count in counts]
    views = torch.tensor([[*rows, *[-1] * (4 - len(rows))] for rows in own])
    pairs, golds = torch.tensor([(0, 0), (1, 1)]), torch.eye(2, len(counts), dtype=torch.bool)
    # Plainly: of every entity the vector of its best view, chosen for each mention on its own.
    best = [
        [max((mentions[row] @ vectors[one] for one in rows), key=torch.Tensor.item) for rows in own] for row in range(2)
    ]
    scores = torch.stack([torch.stack(row) for row in best]) / 0.5
    losses = [-scores[row].log_softmax(0)[row] for row in range(2)]
    if symmetric:
        losses += [-scores[:, row].log_softmax(0)[row] for row in range(2)]
    expected = sum(losses) / len(losses)
    loss = contrastive_loss(mentions, vectors, pairs, golds, 0.5, symmetric, views)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        *(torch.autograd.grad(one, mentions, retain_graph=True)[0] for one in (loss, expected)), rtol=1e-3, atol=1e-3
    )


def test_one_view_for_each_gives_the_loss_without_views() -> None:
    mentions, candidates = torch.randn(3, 8), torch.randn(5, 8)
    pairs, golds = torch.tensor([(0, 0), (1, 1), (2, 2)]), torch.eye(3, 5, dtype=torch.bool)
    alone = torch.arange(5)[:, None]
    for symmetric in (False, True):
        plain = contrastive_loss(mentions, candidates, pairs, golds, 0.1, symmetric)
        assert torch.equal(contrastive_loss(mentions, candidates, pairs, golds, 0.1, symmetric, alone), plain)


def test_batch_holds_every_view_of_each_candidate_once(trained: EntityEncoder, batch: Batch) -> None:
    assert batch.views is not None
    assert batch.views.shape[0] == batch.golds.shape[1]
    places = batch.views[batch.views >= 0].tolist()
    assert sorted(places) == list(range(len(batch.candidates)))
    lengths = [len(tokens) for tokens in batch.candidates]
    assert lengths == sorted(lengths)
    expected = {tuple(map(tuple, trained.tokenizer.entity_ids(entity_views(entity, 9)))) for entity in LONGER}
    found = {tuple(tuple(batch.candidates[row]) for row in rows if row >= 0) for rows in batch.views.tolist()}
    assert found <= expected
    assert len({len(views) for views in found}) > 2


def test_entities_of_one_text_but_other_views_are_kept_apart(trained: EntityEncoder) -> None:
    one, other = (Entity("a", "苹果", facts=(("类型", "神鸟"), (" ", value))) for value in ("大鹏", "小品"))
    tokens = EntityTokens(trained.tokenizer, 9)
    assert tokens.add([one, other, one]) == [0, 1, 0]
    for place, entity in enumerate((one, other)):
        assert tokens.views(place) == trained.tokenizer.entity_ids(entity_views(entity, 9))
        assert tokens[place] == tokens.views(place)[0]


def _gradient(encoder: EntityEncoder, batch: Batch, mini_batch_size: int, processes: ProcessGroup) -> tuple[float, Any]:
    encoder.model.zero_grad()
    computer = GradientComputer(
        encoder.model, encoder.tokenizer, LOSS, processes, mini_batch_size, contextlib.nullcontext
    )  # fmt: skip
    loss = computer.backward(batch, lambda gradient: gradient)
    return loss.item(), torch.cat([p.grad.flatten() for p in encoder.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("mini_batch_size", [0, 1, 3, 100])
def test_gradient_is_that_of_the_best_views(trained: EntityEncoder, batch: Batch, mini_batch_size: int) -> None:
    loss, gradient = _gradient(trained, batch, mini_batch_size, ProcessGroup(0, 1, torch.device("cpu")))
    trained.model.zero_grad()
    assert batch.views is not None
    vectors = []
    for side, texts in (("mention", batch.mentions), ("entity", batch.candidates)):
        padded = {name: torch.from_numpy(value) for name, value in trained.tokenizer.pad(texts).items()}
        vectors.append(trained.model.embed(side, **padded))  # type: ignore[arg-type]
    # Plainly: only the vectors that win go into the loss, one set of candidates for each mention.
    scores = torch.stack(
        [
            torch.stack(
                [max((mention @ vectors[1][row] for row in rows if row >= 0), key=torch.Tensor.item) for rows in places]
            )
            for mention in vectors[0]
            for places in [batch.views.tolist()]
        ]
    )
    expected = contrastive_loss(scores, torch.eye(scores.shape[1]), batch.pairs, batch.golds, 0.5, symmetric=True)
    expected.backward()
    reference = torch.cat([p.grad.flatten() for p in trained.model.parameters() if p.grad is not None])
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert reference.abs().max() > 1e-2
    torch.testing.assert_close(gradient, reference, atol=1e-4, rtol=1e-3)


def test_shares_of_several_workers_add_up_to_the_gradient_of_one(
    trained: EntityEncoder, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = _gradient(trained, batch, 2, ProcessGroup(0, 1, torch.device("cpu")))
    # Each worker encodes its share of the views and is handed the vectors of all.
    every = {
        side: trained.model.embed(
            side, **{n: torch.from_numpy(v) for n, v in trained.tokenizer.pad(texts).items()}  # type: ignore[arg-type]
        ).detach()
        for side, texts in (("mention", batch.mentions), ("entity", batch.candidates))
    }  # fmt: skip
    sides = {len(batch.mentions): every["mention"], len(batch.candidates): every["entity"]}
    monkeypatch.setattr(ProcessGroup, "gather_vectors", lambda self, vectors, total: sides[total].clone())
    parts = [_gradient(trained, batch, 2, ProcessGroup(rank, 3, torch.device("cpu")))[1] for rank in range(3)]
    torch.testing.assert_close(sum(parts), whole, atol=1e-4, rtol=1e-3)


def test_mined_negatives_and_gold_scores_are_those_of_the_best_views(trained: EntityEncoder) -> None:
    index = build_index(trained, LONGER, views=ViewSettings(9))
    _, mining = read_training_settings(
        default_configuration(), sampling_strategy="top", num_negatives=3, name_negatives=1
    )
    mined = mine_negatives(trained, index, MENTIONS, mining)
    best = {e.id: trained.encode_document(entity_views(e, 9)) for e in LONGER}
    for mention, chosen, gold_score in zip(mined.mentions, mined.found, mined.gold_scores, strict=True):
        query = trained.encode_query([mention])[0]
        scores = {one: float((vectors @ query).max()) for one, vectors in best.items()}
        assert gold_score == pytest.approx(scores[mention.entity_ids[0]], rel=1e-5)
        assert mention.entity_ids[0] not in mention.negatives
        assert [one.score for one in chosen] == pytest.approx([scores[index.ids[one.row]] for one in chosen], rel=1e-5)
        others = sorted((-score, one) for one, score in scores.items() if one != mention.entity_ids[0])
        pool = [one for one in chosen if not one.by_name]
        named = {index.ids[one.row] for one in chosen if one.by_name}
        assert [index.ids[one.row] for one in pool] == [one for _, one in others if one not in named][: len(pool)]


def _train(base: Path, output: Path, **changes: Any) -> Any:
    settings = read_training_settings(
        default_configuration(), batch_size=6, learning_rate=2e-3, emb_pooler_type="avg", temperature=8.0, **changes
    )
    return train(base, lambda: LONGER, MENTIONS, output, *settings, device="cpu", eval_mentions=MENTIONS, ks=[1])


def test_training_with_views_learns_in_two_stages_and_is_measured_by_views(base_folder: Path, tmp_path: Path) -> None:
    result = _train(base_folder, tmp_path / "out", views=3, max_epochs=12, stages=2, mini_batch_size=4)
    assert result.best.losses[-1] < result.stages[0].losses[0] / 2
    encoder = EntityEncoder.from_pretrained(tmp_path / "out", device="cpu")
    index = build_index(encoder, LONGER, views=ViewSettings(3))
    found = index.search(encoder.encode_query(MENTIONS), 1)
    hits = [one[0].id in mention.entity_ids for one, mention in zip(found, MENTIONS, strict=True)]
    assert result.best.evaluation["recall@1"] == sum(hits) / len(hits)
    assert json.loads((tmp_path / "out" / "configuration.json").read_text())["train"]["views"] == 3
    assert math.isfinite(result.best.losses[-1])


def test_training_with_views_is_repeatable_and_another_one(base_folder: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "again", "other")]
    for folder, views in zip(folders, (3, 3, 1), strict=True):
        _train(base_folder, folder, views=views, max_epochs=2, dropout=0.1)
    one, again, other = ((folder / "model.safetensors").read_bytes() for folder in folders)
    assert one == again
    assert one != other


def test_configuration_of_a_model_says_how_its_entities_are_indexed() -> None:
    configuration = default_configuration()
    assert ViewSettings.from_configuration(configuration) == ViewSettings()
    configuration["train"]["views"] = 6
    configuration["index"]["merge_rounds"] = 2
    assert ViewSettings.from_configuration(configuration) == ViewSettings(6, 2)
    assert ViewSettings.from_configuration(configuration, max_views=None, merge_rounds=0) == ViewSettings(6)
    assert ViewSettings.from_configuration({}) == ViewSettings()
