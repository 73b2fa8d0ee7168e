"""Choose how an index is searched, and measure the recall that this costs."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from modelscope_plugin.errors import InputError
from modelscope_plugin.retrieval.dense.faiss.approximate_index import FEWEST, PER_LIST, ApproximateIndex
from modelscope_plugin.retrieval.dense.faiss.entity_search import EntitySearch
from modelscope_plugin.retrieval.dense.faiss.kinds import make_faiss_index
from modelscope_plugin.retrieval.dense.faiss.vector_matrix import VectorMatrix
from modelscope_plugin.retrieval.dense.tuning import Tuning
from modelscope_plugin.types import RowIds, Vectors

logger = logging.getLogger(__name__)

AUTO_ENTITIES = 300_000
"""From so many entities on ``auto`` searches approximately: four times as fast as exact search there, fourteen times
with 1,000,000 (benchmarks/results/search_300000.json, search.json)."""

SEARCHES = ("exact", "approximate", "auto")
"""How an index can be searched, beside the kinds of FAISS index that `ApproximateIndex.train` takes."""

RECALL_TARGETS = {16: 0.99, 128: 0.97}
"""Share of the exact first k that a search has to find; its effort is the least that does."""

RENEW_SHARE = 0.2
"""An approximate index of which more than this share was added or removed since it was trained should be renewed."""

_KIND = re.compile(r"([^,]+,)*(IVF|HNSW)\d")
# Up to so many dimensions finer codes cost little.
_FEW_DIMENSIONS = 256
# What an approximate search finds of the exact list at a cost that still pays.
_NEARLY_ALL = 0.996
# Of what a target allows to be missed, so much on the queries that decide: others find a little less.
_RESERVE = 0.9
# More effort that finds no more than this share finds it too dearly.
_HARDLY = 0.001
# An effort this much larger than one that falls short is near enough to the least.
_FINE = 1.1


def approximate_kind(rows: int, dimension: int) -> str:
    """The kind of FAISS index that serves so many vectors best.

    Inverted lists, some 8 sqrt(n), of product-quantised codes of 4 bits for 3 dimensions (or 4, or 2; for 2 where
    there are few dimensions). With so many lists a search looks at half the vectors that sqrt(n) lists would make it
    look at for the same recall. So few vectors that all of them would be candidates are searched exactly.
    """
    if rows <= FEWEST:
        return "exact"
    lists = 2 ** int(math.log2(min(8 * math.sqrt(2 * rows), rows / PER_LIST)))
    steps = (2, 3) if dimension <= _FEW_DIMENSIONS else (3, 4, 2)
    step = next((step for step in steps if dimension % step == 0), 1)
    return f"IVF{lists},PQ{dimension // step}x4fs"


def tune_search(
    search: EntitySearch, queries: Vectors, kind: str, precision: str, truncate_dim: int | None
) -> tuple[EntitySearch, Tuning]:
    """Store vectors in a precision, make an index of them and measure it.

    Args:
        search: Exact search over the vectors as float32.
        queries: Queries like those to come, float32 (m, dim): one half decides the effort, the other is measured.
        kind: One of `SEARCHES`, or a kind of FAISS index; ``auto`` is exact too where an approximate search misses
            `RECALL_TARGETS`.
        precision: ``float32``, ``float16`` or ``int8``.
        truncate_dim: Dimensions to keep; None for all.

    Returns:
        The search, and what was chosen and measured.

    Raises:
        InputError: If a choice is not usable, or there are too few queries to measure it.
    """
    dimension = search.vectors.dimension
    check_choices(kind, truncate_dim, dimension)
    kept = truncate_dim or dimension
    vectors = VectorMatrix(kept, precision)
    plan = Tuning(
        choose_kind(kind, len(search.ids), len(search.vectors), kept), precision, truncate_dim or 0, search=kind
    )
    if plan.kind == "exact" and precision == "float32" and kept == dimension:
        return search, Tuning()
    if len(queries) < 2:
        raise InputError(
            "at least 2 mentions are needed to measure recall: name a file of them (--queries), or store all "
            "dimensions in float32 and search exactly"
        )
    vectors.add(np.ascontiguousarray(search.vectors[:][:, :kept]))
    truth = search.search_in_parts(queries, _largest_k(search))
    return _build_and_measure(replace(search, vectors=vectors), np.ascontiguousarray(queries[:, :kept]), truth, plan)


def renew_search(search: EntitySearch, queries: Vectors, before: Tuning) -> tuple[EntitySearch, Tuning]:
    """Make a new index of vectors that have changed, in the way it was made before, and measure it.

    Args:
        search: The search so far; exact search over its vectors as they are stored is what recall is measured against.
        queries: Queries of the dimensions that are stored, float32 (m, dim).
        before: What was chosen before.

    Returns:
        As for `tune_search`.
    """
    search = replace(search, approximate=None)
    truth = search.search_in_parts(queries, _largest_k(search))
    kind = approximate_kind(len(search.vectors), search.vectors.dimension)
    plan = replace(before, kind=kind, search="approximate", renewed=True)
    if before.search not in SEARCHES and kind != "exact":
        try:
            return _build_and_measure(search, queries, truth, replace(plan, kind=before.search, search=before.search))
        except InputError as error:
            logger.warning("%s; %s is made instead", error, kind)
    search, tuning = _build_and_measure(search, queries, truth, plan)
    return search, replace(tuning, search=before.search)


def _build_and_measure(
    exact: EntitySearch, queries: Vectors, truth: RowIds, plan: Tuning
) -> tuple[EntitySearch, Tuning]:
    """Make the index of a plan, choose its effort and measure its recall of ``truth``."""
    ks = [k for k in RECALL_TARGETS if k <= len(exact.ids)]

    def recall(search: EntitySearch, part: slice) -> dict[int, float]:
        return {k: recall_at(search.search_in_parts(queries[part], k), truth[part], k) for k in ks}

    if plan.kind == "exact":
        if exact.vectors.precision == "float32" and not plan.truncate_dim:
            return exact, Tuning()
        found = recall(exact, slice(None))
        return exact, replace(plan, effort=0, recall=found, queries=len(queries), trained=0)
    deciding, measuring = slice(None, None, 2), slice(1, None, 2)
    goals = {k: _goal(RECALL_TARGETS[k], best) for k, best in recall(exact, deciding).items()}
    index = ApproximateIndex.train(exact.vectors, plan.kind)
    search = replace(exact, approximate=index)
    is_reached = _set_effort(index, lambda: recall(search, deciding), goals)
    if not is_reached and plan.search == "auto":
        return _build_and_measure(exact, queries, truth, replace(plan, kind="exact"))
    tuning = replace(
        plan,
        effort=index.effort,
        recall=recall(search, measuring),
        queries=len(truth[measuring]),
        trained=len(exact.vectors),
    )
    if not is_reached:
        logger.warning("%s: that is short of the recall wanted; a finer kind, or exact search, finds more", tuning)
    return search, tuning


def check_choices(search: str, truncate_dim: int | None, dimension: int) -> None:
    """Raise `InputError` unless an index of so many dimensions can be searched so, and so many (None: all) be kept."""
    if truncate_dim is not None and not 1 <= truncate_dim <= dimension:
        raise InputError(f"truncate_dim={truncate_dim} is not between 1 and the {dimension} dimensions of the model")
    if _KIND.match(search):
        make_faiss_index(truncate_dim or dimension, search)
    elif search not in SEARCHES:
        raise InputError(
            f"search={search!r} is none of {', '.join(SEARCHES)}, nor a kind of FAISS index with inverted lists or a "
            "graph, such as IVF4096,PQ256x4fs or HNSW32,SQ8"
        )


def choose_kind(search: str, entities: int, rows: int, dimension: int) -> str:
    """What a search means for so many entities and vectors: ``exact`` or a kind of FAISS index."""
    if _KIND.match(search):
        return search if rows > FEWEST else "exact"
    if search == "auto":
        search = "approximate" if entities >= AUTO_ENTITIES else "exact"
    return approximate_kind(rows, dimension) if search == "approximate" else "exact"


def recall_at(found: RowIds, truth: RowIds, k: int) -> float:
    """Share of the exact first ``k`` rows (m, >= k) that are among the first ``k`` found."""
    hits = sum(np.isin(own[:k], right[:k]).sum() for own, right in zip(found, truth, strict=True))
    return float(hits / max(1, k * len(truth)))


def _largest_k(search: EntitySearch) -> int:
    """The largest k whose recall is measured on so many entities."""
    return max((k for k in RECALL_TARGETS if k <= len(search.ids)), default=0)


def _goal(target: float, best: float) -> float:
    """The recall to aim at for a target, where exact search of what is stored has the recall ``best``.

    What precision and truncation lose, no effort brings back: where that is too much, the aim is as large a share of
    what is left.
    """
    aim = 1 - _RESERVE * (1 - target)
    return aim if best * _NEARLY_ALL >= aim else aim * best


def _set_effort(index: ApproximateIndex, measure: Callable[[], dict[int, float]], goals: dict[int, float]) -> bool:
    """Set about the least effort that reaches the goals; else the one from which more of it finds hardly more.

    Args:
        index: The index.
        measure: Measures its recall, by k.
        goals: The recall to reach, by k.

    Returns:
        Whether they are reached.
    """

    def measure_at(effort: int) -> dict[int, float]:
        index.effort = effort
        return measure()

    def is_enough(recall: dict[int, float]) -> bool:
        return all(recall[k] >= goals[k] for k in goals)

    effort, short = min(index.least_effort, index.most_effort), 0
    recall = measure_at(effort)
    while not is_enough(recall):
        more = min(2 * effort, index.most_effort)
        gained = measure_at(more)
        if all(gained[k] - recall[k] < _HARDLY for k in goals):
            index.effort = effort
            return False
        effort, short, recall = more, effort, gained
    while short and effort - short > 1 and effort > _FINE * short:
        between = (effort + short) // 2
        effort, short = (between, short) if is_enough(measure_at(between)) else (effort, between)
    index.effort = effort
    return True
