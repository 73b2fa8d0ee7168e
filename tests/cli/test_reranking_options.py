"""Re-ranking through the command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import MENTIONS, write_cross_encoder, write_mentions

from modelscope_plugin.cli.main import main
from modelscope_plugin.data import Mention
from modelscope_plugin.linking.reranking.loading import load_reranker
from modelscope_plugin.retrieval import EntityIndex

NIL = [Mention("宋小宝上演", 0, 3, nil="NIL"), Mention("坐船到大江", 3, 5, nil="NIL")]


@pytest.fixture
def own(index_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(index_folder, tmp_path / "index")
    return tmp_path / "index"


def lines(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    assert main([str(argument) for argument in arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_both_steps_are_measured_and_the_weights_are_fitted_and_used(
    own: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dev = write_mentions(tmp_path / "dev.jsonl", [*MENTIONS, *NIL])
    options = ("--index", own, "--reranker", model_folder, "--rerank-top-k", 3, "--device", "cpu")
    first = lines(capsys, "evaluate", dev, "--index", own, "--retrieval", "hybrid", "--k", 1, 4, "--json")[0]
    both = lines(
        capsys,
        "evaluate",
        dev,
        *options,
        "--k",
        1,
        4,
        "--fit-reranking",
        "--fit-nil",
        "--retrieval",
        "hybrid",
        "--json",
    )[0]
    assert [both[f"first_step_{name}"] for name in ("recall@1", "recall@4", "mrr")] == [
        first[name] for name in ("recall@1", "recall@4", "mrr")
    ]
    assert (both["rerank_top_k"], both["retrieval"]) == (3, "hybrid")
    assert both["reranker"] == load_reranker(model_folder, device="cpu").fingerprint
    assert both["recall@1"] >= first["recall@1"]
    assert both["nil_f1"] > 0
    assert EntityIndex.load(own, verify=True).fitted.names == ["reranking", "reranked_nil"]
    assert main(["evaluate", str(dev), *map(str, options), "--k", "1", "--train", str(dev)]) == 0
    output = capsys.readouterr().out
    assert "all 6 mentions, first step" in output
    assert "all 6 mentions, re-ranked" in output
    assert "before re-ranking" in output
    linked = lines(capsys, "link", dev, *options, "--json")
    for mention in (mention for document in linked for mention in document["mentions"]):
        assert {"nil", "confidence"} <= set(mention)
        ranks = [candidate["retrieval_rank"] for candidate in mention["candidates"]]
        assert sorted(ranks) == list(range(1, len(ranks) + 1))
        assert [("rerank_score" in one, "probability" in one) for one in mention["candidates"]] == [
            (True, True) if rank < 3 else (False, False) for rank in range(len(ranks))
        ]


def test_link_with_a_cross_encoder_as_a_process(
    index_folder: Path, base_folder: Path, mentions_file: Path, tmp_path: Path
) -> None:
    reranker = write_cross_encoder(base_folder, tmp_path / "cross")
    command = [sys.executable, "-m", "modelscope_plugin", "link", str(mentions_file), "--index", str(index_folder)]
    options = ["--reranker", str(reranker), "--rerank-top-k", "4", "--device", "cpu", "--json"]
    result = subprocess.run([*command, *options], capture_output=True, encoding="utf-8", check=True)
    linked = [json.loads(line)["mentions"][0]["candidates"] for line in result.stdout.splitlines()]
    assert len(linked) == len(MENTIONS)
    assert [["rerank_score" in one for one in candidates] for candidates in linked] == [[True] * 4 + [False]] * 6
    assert {one["retrieval_rank"] for one in linked[0]} == {1, 2, 3, 4, 5}
    assert "confidence" not in json.loads(result.stdout.splitlines()[0])["mentions"][0]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["evaluate", "dev", "--index", "{index}", "--fit-reranking"], 2, "add --reranker DIR"),
        (["evaluate", "dev", "--index", "{index}", "--rerank-top-k", "4"], 2, "add --reranker DIR"),
        (["evaluate", "dev", "--index", "{index}", "--fit-reranking", "--reranker", "none"], 2, "add --reranker DIR"),
        (["evaluate", "dev", "--kb", "k", "--model", "m", "--fit-reranking", "--reranker", "r"], 2, "need --index"),
        (["link", "--text", "[ENT_S] 鹏 [ENT_E]", "--index", "{index}", "--reranker", "{index}"], 1, "is no re-ranker"),
        (
            ["link", "--text", "[ENT_S] 鹏 [ENT_E]", "--index", "{index}", "--reranker", "{index}/no"],
            1,
            "no model folder",
        ),
    ],
)
def test_options_that_do_not_go_together_are_named(
    arguments: list[str], status: int, message: str, index_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.format(index=index_folder) for argument in arguments]) == status
    assert message in capsys.readouterr().err


def test_weights_of_another_reranker_are_named_and_can_be_fitted_again(
    own: Path,
    model_folder: Path,
    base_folder: Path,
    mentions_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = write_cross_encoder(base_folder, tmp_path / "cross")
    fit = ("evaluate", mentions_file, "--index", own, "--fit-reranking", "--json", "--reranker")
    lines(capsys, *fit, model_folder)
    assert main(["link", str(mentions_file), "--index", str(own), "--reranker", str(other)]) == 1
    assert "fitted for another re-ranker" in capsys.readouterr().err
    lines(capsys, *fit, other)
    assert lines(capsys, "link", mentions_file, "--index", own, "--reranker", other, "--json")
    assert lines(capsys, "link", mentions_file, "--index", own, "--json")
