"""Replacing, verifying and cleaning up an index through the command."""

import shutil
from pathlib import Path

import pytest
from conftest import ENTITIES, MENTIONS, write_entities, write_mentions

from modelscope_plugin.cli.main import main
from modelscope_plugin.data import Mention
from modelscope_plugin.retrieval import EntityIndex, Fitted
from modelscope_plugin.retrieval.fusion import Fusion


@pytest.fixture
def own(index_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(index_folder, tmp_path / "index")
    index = EntityIndex.load(tmp_path / "index")
    index.lexicon.learn([*MENTIONS[-2:], Mention("神鸟飞了", 0, 2, ("roc",))])
    index.fitted = Fitted(Fusion(names=0.3))
    index.save(tmp_path / "index")
    return tmp_path / "index"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_existing_index_is_not_replaced_unasked(
    own: Path, kb_file: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    assert run("index", kb_file, "--model", model_folder, "--out", own) == 2
    message = capsys.readouterr().err
    assert "holds 6 entities, 3 learnt names, fitted fusion; replace it with --overwrite" in message
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before


def test_overwrite_begins_anew(own: Path, kb_file: Path, model_folder: Path) -> None:
    assert run("index", kb_file, "--model", model_folder, "--out", own, "--overwrite") == 0
    index = EntityIndex.load(own)
    assert (len(index), len(index.lexicon.learned), index.fitted) == (6, 0, Fitted())


def test_overwrite_keeps_what_still_holds(own: Path, tmp_path: Path, model_folder: Path) -> None:
    kb = write_entities(tmp_path / "other.jsonl", ENTITIES[:-1])
    assert run("index", kb, "--model", model_folder, "--out", own, "--overwrite", "--keep-fitted") == 0
    index = EntityIndex.load(own)
    assert index.lexicon.learned_pairs() == {("神鸟", "roc"), ("大鹏", "roc")}
    assert index.fitted == Fitted(Fusion(names=0.3))


def test_fits_of_another_model_are_not_kept(
    own: Path, kb_file: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = EntityIndex.load(own)
    index.fingerprint = "another"
    index.save(own)
    assert run("index", kb_file, "--model", model_folder, "--out", own, "--overwrite", "--keep-fitted") == 0
    assert (EntityIndex.load(own).fitted, len(EntityIndex.load(own).lexicon.learned)) == (Fitted(), 3)


def test_fits_of_other_view_scores_are_not_kept(own: Path, kb_file: Path, model_folder: Path) -> None:
    command = ["index", kb_file, "--model", model_folder, "--out", own, "--overwrite", "--views", 3]
    assert run(*command) == 0
    index = EntityIndex.load(own)
    index.fitted = Fitted(Fusion(names=0.3))
    index.save(own)
    assert run(*command, "--keep-fitted") == 0
    assert EntityIndex.load(own).fitted == Fitted(Fusion(names=0.3))
    assert run(*command, "--keep-fitted", "--view-scores", "sum") == 0
    assert EntityIndex.load(own).fitted == Fitted()


def test_damaged_index_can_be_overwritten(
    own: Path, kb_file: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "vectors.npy").unlink()
    assert run("index", kb_file, "--model", model_folder, "--out", own) == 2
    assert "a damaged index" in capsys.readouterr().err
    assert run("index", kb_file, "--model", model_folder, "--out", own, "--overwrite") == 0
    assert len(EntityIndex.load(own)) == 6


@pytest.mark.parametrize("options", [["--keep-fitted"], ["--overwrite", "--add"]])
def test_options_that_do_not_go_together_are_refused(own: Path, kb_file: Path, options: list[str]) -> None:
    assert run("index", kb_file, "--model", "m", "--out", own, *options) == 2


def test_verify_tells_a_flipped_byte(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("index", "--verify", "--out", own) == 0
    data = bytearray((own / "vectors.npy").read_bytes())
    data[-1] ^= 1
    (own / "vectors.npy").write_bytes(data)
    assert run("index", "--verify", "--out", own) == 1
    assert "vectors.npy is damaged: its checksum is another" in capsys.readouterr().err


def test_draft_that_a_kill_left_inside_is_no_obstacle(own: Path, tmp_path: Path) -> None:
    draft = own / ".manifest.json.0123abcd.part"
    draft.mkdir()
    (draft / "manifest.json").write_text("{", encoding="utf-8")
    labelled = write_mentions(tmp_path / "labelled.jsonl", [Mention("巨鸟飞了", 0, 2, ("roc",))])
    assert run("index", "--learn-names", labelled, "--out", own) == 0
    assert not draft.exists()
    assert len(EntityIndex.load(own).lexicon.learned) == 4
