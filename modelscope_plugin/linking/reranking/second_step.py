"""The second step of linking: the first candidates of retrieval are ordered anew, with a re-ranker's score."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from modelscope_plugin.checks import check_integer
from modelscope_plugin.config.model_settings import PipelineSettings
from modelscope_plugin.data.records import Mention
from modelscope_plugin.linking.nil import ranking_features
from modelscope_plugin.linking.reranking.protocol import Reranker
from modelscope_plugin.progress import progress_bar
from modelscope_plugin.retrieval.candidate import Candidate
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.retrieval.fitted import RERANKING_FEATURES, RerankingWeights, fit_reranking_command
from modelscope_plugin.retrieval.retriever import Floats, Ranking, Retriever
from modelscope_plugin.types import RowIds, Scores, Vectors

logger = logging.getLogger(__name__)

Features = npt.NDArray[np.float64]
"""float64, shape (candidates, 6): what `RerankingWeights` weighs, in the order of `RERANKING_FEATURES`."""

# Where nothing is fitted: the weight of the re-ranker's standardised score beside minus the logarithm of retrieval's
# rank. With it no re-ranker tried took Recall@1, @4 or @16 below those of retrieval, whether it was trained or not; 0.4
# gains more with a good one and loses 4 points at 1 with a cross encoder that has hardly learned.
_UNFITTED = 0.1
# Digits of a sum; what differs by less is equal and goes by id.
_DECIMALS = 9
# Mentions whose candidates are read from the index at a time.
_CHUNK = 256


@dataclass(frozen=True)
class Reranked:
    """The candidates of one mention after the second step, best first.

    Attributes:
        ranking: All candidates, those that were re-ranked first. ``scores`` are the sums that these are ordered by;
            behind them the scores of retrieval.
        rerank_scores: Scores of the re-ranker, float32, of the candidates that were re-ranked.
        retrieval_ranks: The ranks that retrieval gave, from 1, (n,).
        probabilities: Their probabilities, which sum to 1; None where no weights were fitted.
    """

    ranking: Ranking
    rerank_scores: Scores
    retrieval_ranks: RowIds
    probabilities: Floats | None

    def take(self, top_k: int) -> Reranked:
        """The first candidates alone."""
        probabilities = None if self.probabilities is None else self.probabilities[:top_k]
        ranking = self.ranking.take(np.arange(min(top_k, len(self.ranking.rows))))
        return Reranked(ranking, self.rerank_scores[:top_k], self.retrieval_ranks[:top_k], probabilities)

    @property
    def nil_features(self) -> tuple[float, ...] | None:
        """What a NIL rule reads of the best candidate; None if there is none. See `NilRule.confidence`."""
        features = ranking_features(self.ranking)
        if features is None:
            return None
        probability = 0.0 if self.probabilities is None else float(self.probabilities[0])
        return (*features, float(self.rerank_scores[0]), probability)


class SecondStep:
    """Orders the first candidates of retrieval by a weighted sum of the re-ranker's score and what retrieval knew.

    The weights are those that were fitted for the index, the retrieval and the re-ranker. Without them the score,
    standardised over the candidates of the mention, is added to minus the logarithm of the rank of retrieval, with a
    small weight; a model that has not learned to rank still does harm then, which fitted weights rule out.

    Args:
        reranker: The re-ranker.
        index: The index.
        retrieval: The retrieval whose candidates are re-ranked.
        top_k: Candidates of a mention that are re-ranked; by default as the shipped configuration.json says.
        is_fitted: Whether fitted weights are used.

    Raises:
        IndexFolderError: If the fitted weights are damaged.
        IndexMismatchError: If they were fitted for another re-ranker.
        InputError: If ``top_k`` is not positive.
    """

    def __init__(
        self,
        reranker: Reranker,
        index: EntityIndex,
        retrieval: str,
        top_k: int | None = None,
        *,
        is_fitted: bool = True,
    ) -> None:
        self.reranker = reranker
        self.top_k = PipelineSettings().rerank_top_k if top_k is None else check_integer("rerank_top_k", top_k, least=1)
        self.weights = index.fitted.get_reranking(retrieval, reranker.fingerprint) if is_fitted else None
        self.retrieval = retrieval
        self._index = index
        if is_fitted and self.weights is None:
            command = fit_reranking_command(retrieval)
            logger.warning("no weights are fitted for this re-ranker, and retrieval decides most; fit: %s", command)

    def rank(
        self,
        mentions: Sequence[str | Mention],
        rankings: Sequence[Ranking],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
    ) -> Iterator[Reranked]:
        """Order the first candidates of mentions anew.

        Args:
            mentions: The mentions, n.
            rankings: What retrieval found for each.
            batch_size: Texts in one forward pass.
            show_progress_bar: True, False, or None for a bar on a terminal only.

        Yields:
            For each mention its candidates after the second step.
        """
        scores = self.score(mentions, rankings, batch_size=batch_size, show_progress_bar=show_progress_bar)
        yield from map(self.order, rankings, scores)

    def score(
        self,
        mentions: Sequence[str | Mention],
        rankings: Sequence[Ranking],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
    ) -> list[Scores]:
        """Score the first candidates of mentions with the re-ranker.

        Args:
            mentions: The mentions, n.
            rankings: What retrieval found for each.
            batch_size: Texts in one forward pass.
            show_progress_bar: True, False, or None for a bar on a terminal only.

        Returns:
            For each mention the scores of its first ``top_k`` candidates.
        """
        found: list[Scores] = []
        with progress_bar(len(mentions), "Re-ranking", "mention", show_progress_bar) as bar:
            for start in range(0, len(mentions), _CHUNK):
                chunk = mentions[start : start + _CHUNK]
                rows = [one.rows[: self.top_k].tolist() for one in rankings[start : start + _CHUNK]]
                entities = [[self._index[row] for row in one] for one in rows]
                found += self.reranker.score(chunk, entities, batch_size=batch_size)
                bar.update(len(chunk))
        return found

    def order(self, ranking: Ranking, scores: Scores) -> Reranked:
        """Order the first candidates of one mention by the re-ranker's scores and what retrieval knew.

        Args:
            ranking: What retrieval found.
            scores: The re-ranker's scores of its first candidates, float32 (m,).

        Returns:
            All candidates, the m first in their new order.
        """
        features = candidate_features(ranking, scores)
        sums = weigh(features, self.weights) if self.weights else self._weigh_unfitted(features)
        sums = np.round(sums, _DECIMALS)
        ids = [self._index.ids[row] for row in ranking.rows[: len(scores)].tolist()]
        first = sorted(range(len(scores)), key=lambda position: (-sums[position], ids[position]))
        order = np.array([*first, *range(len(scores), len(ranking.rows))], dtype=np.int64)
        taken = ranking.take(order)
        taken = replace(taken, scores=np.concatenate([sums[first], taken.scores[len(scores) :]]))
        probabilities = None if self.weights is None else softmax(sums[first])
        return Reranked(taken, scores[first], order + 1, probabilities)

    @staticmethod
    def _weigh_unfitted(features: Features) -> npt.NDArray[np.float64]:
        scores, rank = features[:, 0], features[:, -1]
        spread = scores.std() if len(scores) else 0.0
        sums: npt.NDArray[np.float64] = rank + _UNFITTED * (scores - scores.mean()) / spread if spread > 0 else rank
        return sums

    def make_candidates(self, retriever: Retriever, reranked: Reranked, query: Vectors | None) -> list[Candidate]:
        """Turn what `rank` gives into candidates.

        Args:
            retriever: The retriever that found them.
            reranked: The candidates of one mention.
            query: The mention vector, float32 (dim,); None for ``lexical``.

        Returns:
            The candidates, best first.
        """
        ranking = reranked.ranking
        candidates = []
        for position, candidate in enumerate(retriever.make_candidates(ranking, query)):
            candidate = candidate._replace(retrieval_rank=int(reranked.retrieval_ranks[position]))
            if retriever.retrieval == "dense":
                dense_rank = int(ranking.dense_ranks[position])
                candidate = candidate._replace(dense_score=float(ranking.dense[position]), dense_rank=dense_rank)
            if position < len(reranked.rerank_scores):
                candidate = candidate._replace(rerank_score=float(reranked.rerank_scores[position]))
                if reranked.probabilities is not None:
                    candidate = candidate._replace(probability=float(reranked.probabilities[position]))
            candidates.append(candidate)
        return candidates


def candidate_features(ranking: Ranking, scores: Scores) -> Features:
    """What is known of the first candidates of a mention, in the order of `RERANKING_FEATURES`.

    Args:
        ranking: What retrieval found.
        scores: The re-ranker's scores of the first candidates, float32 (m,).

    Returns:
        float64 (m, 6).
    """
    first = ranking.take(np.arange(len(scores)))
    rank = -np.log(np.arange(1, len(scores) + 1))
    return np.column_stack([scores, first.dense, first.names, first.learned, first.is_exact, rank]).astype(np.float64)


def weigh(features: Features, weights: RerankingWeights) -> npt.NDArray[np.float64]:
    """The sums that candidates of one mention are ordered by, float64 (m,); ``features`` as `candidate_features`."""
    sums: npt.NDArray[np.float64] = features @ [getattr(weights, name) for name in RERANKING_FEATURES]
    return sums
