"""A finished model is replaced only if that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import MENTIONS
from small_training import command_options, train_small, weights_of

from modelscope_plugin.cli.main import main
from modelscope_plugin.errors import InputError
from modelscope_plugin.training.record import RECORD_FILE


@pytest.fixture(scope="module")
def trained(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its recall."""
    folder = tmp_path_factory.mktemp("trained") / "out"
    train_small(base_folder, folder, max_epochs=1, eval_mentions=MENTIONS, ks=[1])
    return folder


@pytest.mark.parametrize("resume", [False, True])
def test_earlier_model_is_named_and_kept(trained: Path, base_folder: Path, resume: bool) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="overwrite") as failure:
        train_small(base_folder, trained, max_epochs=2, resume=resume)
    message = str(failure.value)
    assert "trained on 20" in message
    assert f" from {base_folder.resolve()}, recall@1 " in message
    assert f"its {len(before)} files would be lost" in message
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before
    assert not trained.with_name("out.training").exists()


def test_earlier_model_is_replaced_on_request(trained: Path, base_folder: Path) -> None:
    earlier = weights_of(trained)
    train_small(base_folder, trained, max_epochs=2, overwrite=True, eval_mentions=MENTIONS, ks=[1])
    assert any((earlier[name] != value).any() for name, value in weights_of(trained).items())


@pytest.mark.parametrize("evaluation", [1, {"recall@1": "x"}])
def test_odd_record_of_an_earlier_model_is_no_reason_to_replace_it(
    evaluation: object, base_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RECORD_FILE).write_text(json.dumps({"files": [], "base_model": 1, "evaluation": evaluation}))
    with pytest.raises(InputError, match="recall not measured; its 1 files would be lost"):
        train_small(base_folder, tmp_path / "out")


def test_command_asks_for_overwrite(
    trained: Path, base_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", *command_options(base_folder, tmp_path, epochs=1), "--out", str(trained)]
    assert main(command) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == str(trained)
