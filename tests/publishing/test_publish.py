"""Publishing end to end: export, check, upload to a stand-in for the hub, download again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_stand_in import PRIVATE, PUBLIC, Hub, serve_hub

from modelscope_plugin.errors import (
    FolderCheckError,
    HubError,
    InputError,
    MissingFileError,
    ModelFolderError,
    UsageError,
)
from modelscope_plugin.publishing import publish
from modelscope_plugin.publishing.check import check_folder
from modelscope_plugin.publishing.export.export_model import export_model
from modelscope_plugin.publishing.publish import publish_model

pytestmark = pytest.mark.process

TOKEN = "ms-0123456789abcdef"
REPO = "owner/name"
TEXT = "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub."""
    with serve_hub(TOKEN) as hub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.address)
        monkeypatch.setenv("MODELSCOPE_DOMAIN", hub.address)
        monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
        monkeypatch.setattr("modelscope_hub.config._default_config", None)
        yield hub


def _command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelscope_plugin", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=os.environ | environment
    )


def test_published_model_links_when_it_is_downloaded_by_its_id(
    hub: Hub, model_folder: Path, index_folder: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    arguments = ["publish", model_folder, REPO, "--license", "mit", "--index", index_folder, "--private", "--json"]
    done = _command(*arguments, MODELSCOPE_API_TOKEN=TOKEN, TMPDIR=str(work))
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert result["url"] == f"{hub.address}/models/{REPO}"
    assert list(result["checked"]) == ["plugin", "standalone", "sentence-transformers"]
    model = hub.models[REPO]
    assert (model.visibility, model.license) == (PRIVATE, "mit")
    assert {name: len(content) for name, content in model.files.items()} == result["files"]
    assert json.loads(model.files["configuration.json"])["allow_remote"] is True
    assert TOKEN not in done.stdout + done.stderr
    assert list(work.iterdir()) == []
    model.visibility = PUBLIC
    linked = _command("link", "--model", REPO, "--text", TEXT, "--json")
    assert linked.returncode == 0, linked.stderr[-3000:]
    assert _candidates(linked.stdout) == _candidates(
        _command("link", "--index", index_folder, "--text", TEXT, "--json").stdout
    )
    # A plain model without an index takes its place: the code and the index go.
    result = publish_model(model_folder, REPO, token=TOKEN, license="mit", standalone=False)
    assert model.files.keys() == result.files.keys()
    assert {name.split("/")[0] for name in result.deleted} == {"entity_embedding", "index"}


def _candidates(output: str) -> list[str]:
    return [one["id"] for one in json.loads(output)["mentions"][0]["candidates"]]


def test_dry_run_asks_the_hub_for_nothing(hub: Hub, model_folder: Path) -> None:
    done = _command("publish", model_folder, REPO, "--dry-run", "--no-standalone", "--license", "mit")
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert any(line.endswith("  model.safetensors") for line in lines)
    assert not any("entity_embedding/" in line for line in lines)
    assert lines[-1].startswith("would go up to owner/name: ")
    assert [line.split(",")[0] for line in lines if line.startswith("checked")] == [
        "checked: plugin", "checked: sentence-transformers",
    ]  # fmt: skip
    assert hub.requests == []


def test_exported_folder_goes_up_as_it_stands(hub: Hub, model_folder: Path, tmp_path: Path) -> None:
    folder = export_model(model_folder, tmp_path / "m", name=REPO, license="mit").folder
    card = (folder / "README.md").read_text(encoding="utf-8") + "\nWritten by hand.\n"
    (folder / "README.md").write_text(card, encoding="utf-8")
    result = publish_model(folder, REPO, token=TOKEN)
    assert hub.models[REPO].files["README.md"].decode() == card
    assert result.files == {name: len(content) for name, content in hub.models[REPO].files.items()}
    with pytest.raises(UsageError, match="is exported already; export the model again to change language"):
        publish_model(folder, REPO, token=TOKEN, language="zh")
    with pytest.raises(UsageError, match="loads 'owner/name', not 'owner/other'; export it with that name"):
        publish_model(folder, "owner/other", token=TOKEN)


def test_folder_that_fails_the_check_does_not_go_up(
    hub: Hub, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_model(model_folder, tmp_path / "m", name=REPO, license="mit").folder
    monkeypatch.setattr(check_folder, "render_snippets", lambda facts: {"pipeline": "raise KeyError('x')"})
    with pytest.raises(FolderCheckError, match="plugin: the pipeline snippet of the card failed"):
        publish_model(folder, REPO, token=TOKEN)
    assert not any(request.action for request in hub.requests)


def test_nothing_that_is_written_into_a_card_runs(hub: Hub, model_folder: Path, tmp_path: Path) -> None:
    folder = export_model(model_folder, tmp_path / "m", name=REPO, license="mit").folder
    card = (folder / "README.md").read_text(encoding="utf-8")
    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    card = card.replace("import modelscope_plugin\n", f"import modelscope_plugin\n{code}\n")
    card += f"\n```python\n{code}\n```\n"
    (folder / "README.md").write_text(card, encoding="utf-8")
    publish_model(folder, REPO, token=TOKEN)
    assert hub.models[REPO].files["README.md"].decode() == card
    assert not (tmp_path / "ran").exists()


def test_card_that_changes_during_the_check_does_not_go_up(
    hub: Hub, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_model(model_folder, tmp_path / "m", name=REPO, license="mit").folder

    def change(*arguments: object) -> dict[str, float]:
        (folder / "README.md").write_text("changed meanwhile", encoding="utf-8")
        return {}

    monkeypatch.setattr(publish, "check_folder", change)
    with pytest.raises(ModelFolderError, match=r"README\.md changed"):
        publish_model(folder, REPO, token=TOKEN)
    assert not any(request.action for request in hub.requests)


def test_hub_that_refuses_is_asked_before_the_work(hub: Hub, model_folder: Path) -> None:
    with pytest.raises(HubError, match="refuses the access token"):
        publish_model(model_folder, REPO, token="ms-wrong-token", license="mit", index="none")


def test_licence_that_nobody_has_said_is_asked_for(model_folder: Path, tmp_path: Path) -> None:
    message = "the licence of .* is not known; export it with one"
    with pytest.raises(UsageError, match=message):
        publish_model(model_folder, REPO, dry_run=True)
    folder = export_model(model_folder, tmp_path / "m", name=REPO).folder
    assert "未注明" in (folder / "README.md").read_text(encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        publish_model(folder, REPO, dry_run=True)


def test_terminated_command_leaves_no_folder_behind(model_folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    command = [sys.executable, "-m", "modelscope_plugin", "publish", str(model_folder), REPO, "--license", "mit"]
    process = subprocess.Popen([*command, "--dry-run"], env=os.environ | {"TMPDIR": str(work)})
    deadline = time.monotonic() + 120
    while not list(work.glob("modelscope_plugin.check.*/runs/*/errors")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 143
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("license", [None, "mit"])
def test_folder_that_does_not_exist_is_named(license: str | None, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no model folder .*absent"):
        publish_model(tmp_path / "absent", REPO, dry_run=True, license=license)


@pytest.mark.parametrize("repo_id", ["name", "owner/name/more", "../name", "owner/", "", "-o/x", "a/b?x", "中文/模型"])
def test_name_of_a_wrong_form_is_refused(repo_id: str, model_folder: Path) -> None:
    with pytest.raises(UsageError, match="is not a hub id; it has the form owner/name"):
        publish_model(model_folder, repo_id, token=TOKEN)


def test_reranker_is_refused(cross_encoder_folder: Path) -> None:
    with pytest.raises(InputError, match="holds a re-ranker"):
        publish_model(cross_encoder_folder, "owner/name", license="mit", dry_run=True)


def test_code_in_the_files_of_a_model_does_not_run(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(model_folder, folder)
    evil = "x|`\n\n```py\nexit(1)\n```\n"
    configuration = json.loads((folder / "configuration.json").read_text(encoding="utf-8"))
    configuration["preprocessor"] |= {"boq": evil, "bod": evil}
    (folder / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
    # Code that ran would end the process of the check.
    assert "plugin" in publish_model(folder, REPO, dry_run=True, standalone=False, license="mit").checked
    training = {"settings": {"batch_size": evil}, "stages": [{"stage": 1, "steps": 1, "losses": [1.0]}]}
    (folder / "training.json").write_text(json.dumps(training), encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"training\.json: settings\.batch_size must be a number"):
        publish_model(folder, REPO, dry_run=True, standalone=False, license="mit")
