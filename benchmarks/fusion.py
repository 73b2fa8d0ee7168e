"""Hybrid retrieval beside its halves: recall with good, foreign and random encoders, and of unseen entities.

``default``: every set, and where it has aliases also without them, is indexed with its own model, with that of KgCLUE
and with random weights; what is compared is dense, lexical, hybrid with constant weights, and hybrid with the weights
that its quality gives (`measure_quality`). ``fitted``: names are learnt from the training mentions of CHIP-CDN and
weights fitted on one half of the dev mentions and measured on the other, both ways.

``--work`` has of each set a folder with ``kb.jsonl``, ``train.jsonl``, ``dev.jsonl`` and perhaps ``test.jsonl``, a
trained model in ``model`` and the random weights that it started from in ``base``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from common import write_results
from two_stage import MAX_LENGTH

from modelscope_plugin.data import Mention, read_entities, read_mentions
from modelscope_plugin.data.golds import merge_golds
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.evaluation.evaluate import evaluate, score_rankings
from modelscope_plugin.evaluation.fitting.fit_fusion import fit_fusion
from modelscope_plugin.retrieval import EntityIndex, Fitted
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.retrieval.indexing import index_entities
from modelscope_plugin.retrieval.measuring import measure_quality

KS = (1, 4, 16, 64)
SETS = ("oi-wiki", "ccks2019-sample", "kgclue", "chip-cdn")
FOREIGN = "kgclue"
FITTED = "chip-cdn"


def _mentions(folder: Path) -> list[Mention]:
    """The labelled mentions that no model was trained on."""
    files = [folder / f"{name}.jsonl" for name in ("dev", "test")]
    read = [mention for file in files if file.exists() for mention in merge_golds(read_mentions(file))]
    return [mention for mention in read if mention.entity_ids]


def _encoders(work: Path, name: str) -> Iterable[tuple[str, EntityEncoder]]:
    folders = {"own": work / name / "model", "foreign": work / FOREIGN / "model", "random": work / name / "base"}
    if name == FOREIGN:
        del folders["foreign"]
    for kind, folder in folders.items():
        yield kind, EntityEncoder.from_pretrained(folder, device="cpu", max_length=MAX_LENGTH)


def compare_defaults(work: Path, name: str, *, without_aliases: bool) -> dict[str, Any]:
    """Recall of dense, lexical and hybrid retrieval with every encoder."""
    entities = list(read_entities(work / name / "kb.jsonl"))
    if without_aliases:
        entities = [replace(entity, aliases=()) for entity in entities]
    known = {entity.id for entity in entities}
    mentions = [mention for mention in _mentions(work / name) if not known.isdisjoint(mention.entity_ids)]
    figures: dict[str, Any] = {"entities": len(entities), "mentions": len(mentions)}
    for kind, encoder in _encoders(work, name):
        index = index_entities(encoder, entities, show_progress_bar=False)
        rows = {retrieval: _recall(encoder, index, mentions, retrieval) for retrieval in ("dense", "lexical", "hybrid")}
        rows["hybrid, constant weights"] = rows.pop("hybrid")
        index.quality = measure_quality(encoder, index)
        rows["hybrid"] = _recall(encoder, index, mentions, "hybrid")
        quality = None if index.quality is None else index.quality.to_record()
        behind = max(max(rows["dense"][k], rows["lexical"][k]) - rows["hybrid"][k] for k in rows["hybrid"])
        figures[kind] = rows | {"quality": quality, "behind the better half": round(behind, 1)}
    return figures


def _recall(
    encoder: EntityEncoder, index: EntityIndex, mentions: Sequence[Mention], retrieval: str
) -> dict[str, float]:
    found = evaluate(encoder, index, mentions, ks=KS, retrieval=retrieval, show_progress_bar=False)
    return {str(k): round(100 * value, 1) for k, value in found.recall.items()}


def compare_fits(work: Path) -> dict[str, Any]:
    """Recall of all, seen and unseen entities by default, with names learnt, and with weights fitted."""
    folder = work / FITTED
    encoder = EntityEncoder.from_pretrained(folder / "model", device="cpu", max_length=MAX_LENGTH)
    index = build_index(encoder, read_entities(folder / "kb.jsonl"), show_progress_bar=False)
    dev, train = _mentions(folder), list(read_mentions(folder / "train.jsonl"))
    seen = {one for mention in train for one in mention.entity_ids}
    figures: dict[str, Any] = {"hybrid": _groups(encoder, index, dev, seen)}
    index.lexicon.learn(train)
    figures["names learnt"] = _groups(encoder, index, dev, seen)
    hits: dict[int, int | None] = {}
    weights = []
    for half in (0, 1):
        weights.append(asdict(fit_fusion(encoder, index, dev[1 - half :: 2])))
        found = evaluate(encoder, index, dev[half::2], ks=KS, retrieval="hybrid", show_progress_bar=False)
        hits |= dict(zip(range(half, len(dev), 2), found.first_hits, strict=True))
        index.fitted = Fitted()
    rankings = [
        [] if hits[place] is None else [*([""] * ((hits[place] or 1) - 1)), mention.entity_ids[0]]
        for place, mention in enumerate(dev)
    ]
    figures["names learnt, weights fitted"] = _parts(score_rankings(rankings, dev, index.ids, KS, seen=seen))
    return figures | {"weights": weights}


def _groups(encoder: EntityEncoder, index: EntityIndex, mentions: Sequence[Mention], seen: set[str]) -> dict[str, Any]:
    return _parts(evaluate(encoder, index, mentions, ks=KS, seen=seen, retrieval="hybrid", show_progress_bar=False))


def _parts(result: Any) -> dict[str, Any]:
    parts = {"all": result.recall, **{name: result.groups[name].recall for name in ("seen", "unseen")}}
    return {name: {str(k): round(100 * value, 1) for k, value in part.items()} for name, part in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the sets and their models")
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--parts", nargs="*", default=["default", "fitted"])
    args = parser.parse_args()
    figures: dict[str, Any] = {}
    for name in args.sets if "default" in args.parts else ():
        figures[name] = compare_defaults(args.work, name, without_aliases=False)
        if any(entity.aliases for entity in read_entities(args.work / name / "kb.jsonl")):
            figures[f"{name}, titles only"] = compare_defaults(args.work, name, without_aliases=True)
        write_results("fusion", figures)
    if "fitted" in args.parts:
        write_results("fusion_fitted", compare_fits(args.work))


if __name__ == "__main__":
    main()
