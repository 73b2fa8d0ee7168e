"""Uploading with ModelScope's own hub client to a stand-in for the hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_stand_in import PRIVATE, PUBLIC, SIGNATURE, Hub, Repository, Request, serve_hub

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import HubError, InputError, MissingFileError, ModelFolderError
from modelscope_plugin.publishing.export.export_model import export_model
from modelscope_plugin.publishing.upload.file_states import read_file_states
from modelscope_plugin.publishing.upload.upload import check_upload, upload_folder

TOKEN = "ms-0123456789abcdef"
REPO = "owner/name"
SMALL = ["README.md", ".gitattributes", "[a]*.txt", "empty.txt", "sub/deeper/config.json"]
LARGE = ["model.safetensors", "sub/large.json", "empty.bin"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub, and a client that knows of no login and does not wait between its attempts."""
    with serve_hub(TOKEN) as hub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.address)
        monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
        monkeypatch.setattr("modelscope_hub.config._default_config", None)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small and large files, and others beside them."""
    folder = tmp_path / "folder"
    contents = {name: name.encode() for name in SMALL}
    contents |= {"empty.txt": b"", "empty.bin": b"", "model.safetensors": b"weights" * 30_000}
    contents |= {"sub/large.json": b"json" * 30_000, "train.jsonl": b"data", "a1.txt": b"no", "sub/optimizer.pt": b"no"}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _upload(folder: Path, files: Iterable[str], repo_id: str, **options: Any) -> tuple[str, list[str]]:
    return upload_folder(folder, read_file_states(folder, files), repo_id, **options)


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _named(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in _tree(folder).items() if name in SMALL + LARGE}


def test_upload_sends_the_named_files_and_no_other(folder: Path, hub: Hub) -> None:
    before = _tree(folder)
    url, deleted = _upload(folder, SMALL + LARGE, REPO, token=TOKEN)
    assert hub.models[REPO].files == _named(folder)
    assert (url, deleted) == (f"{hub.address}/models/{REPO}", [])
    assert _tree(folder) == before


def test_upload_announces_sizes_and_hashes_and_commits_once(folder: Path, hub: Hub) -> None:
    _upload(folder, SMALL + LARGE, REPO, token=TOKEN, license="mit")
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in LARGE}
    sizes = {hashes[name]: (folder / name).stat().st_size for name in LARGE}
    (create,), (validate,), (commit,) = hub.sent("create"), hub.sent("validate"), hub.sent("commit")
    assert create.body == {"Path": "owner", "Name": "name", "Visibility": PUBLIC, "License": "mit"}
    assert validate.body["operation"] == "upload"
    assert {blob["oid"]: blob["size"] for blob in validate.body["objects"]} == sizes
    assert {blob.path.rpartition("/")[2]: len(blob.body) for blob in hub.sent("blob")} == sizes
    assert commit.path == f"/api/v1/repos/models/{REPO}/commit/master"
    assert commit.body["commit_message"] == "Upload name"
    actions = {action["path"]: action for action in commit.body["actions"]}
    assert {name: actions[name]["sha256"] for name in LARGE} == hashes
    assert {action["type"] for name, action in actions.items() if name in SMALL} == {"normal"}
    assert all(request.headers["Authorization"] == f"Bearer {TOKEN}" for request in hub.requests)


def test_more_files_than_the_client_puts_into_a_commit_go_up_in_one(tmp_path: Path, hub: Hub) -> None:
    names = [f"{number}.txt" for number in range(300)]
    for name in names:
        (tmp_path / name).write_text(name, encoding="utf-8")
    _upload(tmp_path, names, REPO, token=TOKEN)
    (commit,) = hub.models[REPO].commits
    assert len(commit["actions"]) == 300


def test_upload_can_make_a_private_repository(folder: Path, hub: Hub) -> None:
    _upload(folder, SMALL, REPO, token=TOKEN, private=True)
    assert hub.models[REPO].visibility == PRIVATE
    assert not hub.sent("validate")


def test_upload_into_a_repository_that_is_there_keeps_its_visibility_and_files(folder: Path, hub: Hub) -> None:
    there = {"figures/recall.PNG": b"picture", ".gitignore": b"x", "NOTES.md": b"text"}
    hub.models[REPO] = Repository(visibility=PRIVATE, branches={"master": dict(there)})
    _, deleted = _upload(folder, SMALL, REPO, token=TOKEN)
    assert not hub.sent("create")
    assert hub.models[REPO].visibility == PRIVATE
    assert hub.models[REPO].files.keys() == {*there, *SMALL}
    assert deleted == []


def test_files_of_an_earlier_export_are_deleted_in_the_same_commit(folder: Path, hub: Hub) -> None:
    record = json.dumps({"files": {"modules.json": "1", "README.md": None, "gone.txt": "2"}})
    there = {"export.json": record.encode(), "modules.json": b"{}", "README.md": b"old", "mine.png": b"picture"}
    hub.models[REPO] = Repository(branches={"master": there})
    (folder / "export.json").write_text("{}", encoding="utf-8")
    _, deleted = _upload(folder, ["README.md", "export.json"], REPO, token=TOKEN)
    assert deleted == ["modules.json"]
    assert hub.models[REPO].files.keys() == {"export.json", "README.md", "mine.png"}
    assert len(hub.sent("commit")) == 1


@pytest.mark.parametrize("record", [None, b"{", b"[]", b'{"files": {"modules.json": "1"}}'])
def test_other_files_that_open_with_the_model_are_refused(folder: Path, hub: Hub, record: bytes | None) -> None:
    there = {"config.json": b"{}"} | ({} if record is None else {"export.json": record})
    hub.models[REPO] = Repository(branches={"master": there})
    with pytest.raises(
        HubError, match=r"holds [12] files that are not part of this model \((config|export)\.json, for one\)"
    ):
        _upload(folder, SMALL, REPO, token=TOKEN)
    assert not any(request.action for request in hub.requests)


def test_file_that_changed_since_it_was_looked_at_is_named(folder: Path, hub: Hub) -> None:
    states = read_file_states(folder, SMALL)
    (folder / "README.md").write_text("changed", encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"README\.md changed"):
        upload_folder(folder, states, REPO, token=TOKEN)
    assert not hub.requests


def test_check_upload_finds_out_before_and_changes_nothing(hub: Hub) -> None:
    check_upload(REPO, token=TOKEN, private=True)
    hub.models[REPO] = Repository(visibility=PUBLIC)
    with pytest.raises(HubError, match="not private"):
        check_upload(REPO, token=TOKEN, private=True)
    with pytest.raises(HubError, match="no branch v2"):
        check_upload(REPO, token=TOKEN, revision="v2")
    with pytest.raises(HubError, match="refuses the access token"):
        check_upload(REPO, token="ms-wrong-token")
    assert not any(request.action for request in hub.requests)


def test_private_upload_into_a_public_repository_is_refused_before_anything_is_sent(folder: Path, hub: Hub) -> None:
    hub.models[REPO] = Repository(visibility=PUBLIC)
    with pytest.raises(HubError, match="not private"):
        _upload(folder, SMALL + LARGE, REPO, token=TOKEN, private=True)
    assert not any(request.action for request in hub.requests)


def test_name_of_a_repository_that_the_token_does_not_see_is_taken(folder: Path, hub: Hub) -> None:
    hub.models[REPO] = Repository(visibility=PRIVATE)
    hub.foreign.add("owner")
    with pytest.raises(HubError, match="is taken"):
        _upload(folder, SMALL, REPO, token=TOKEN)


def test_refused_token_is_an_error_that_keeps_it_secret(folder: Path, hub: Hub) -> None:
    with pytest.raises(HubError, match=r"refuses the access token.*--token.*MODELSCOPE_API_TOKEN") as error:
        _upload(folder, SMALL, REPO, token="ms-wrong-token")
    assert "ms-wrong-token" not in str(error.value)
    assert not hub.models


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("files", [SMALL, LARGE])
def test_token_without_the_right_to_write_is_an_error(folder: Path, hub: Hub, there: bool, files: list[str]) -> None:
    hub.foreign.add("owner")
    if there:
        hub.models[REPO] = Repository()
    with pytest.raises(HubError, match="may not write to owner/name") as error:
        _upload(folder, files, REPO, token=TOKEN)
    assert TOKEN not in str(error.value)
    assert not hub.blobs


@pytest.mark.parametrize("token", [None, "", "  "])
def test_upload_without_a_token_names_the_remedies(folder: Path, hub: Hub, token: str | None) -> None:
    with pytest.raises(HubError, match=r"--token or in MODELSCOPE_API_TOKEN.*modelscope login"):
        _upload(folder, SMALL, REPO, token=token)
    assert not hub.requests


def test_token_that_cannot_be_one_is_not_repeated(folder: Path, hub: Hub) -> None:
    with pytest.raises(HubError, match="characters") as error:
        _upload(folder, SMALL, REPO, token="two\nlines")
    assert "lines" not in str(error.value)


def test_token_comes_from_the_argument_then_the_environment_then_the_login(
    folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelscope_hub import HubConfig

    hub.tokens = ("saved", "environment", "argument")
    HubConfig().save_token("saved")
    _upload(folder, SMALL, REPO)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "environment")
    _upload(folder, SMALL, REPO)
    _upload(folder, SMALL, REPO, token="argument\n")
    used = [request.headers["Authorization"] for request in hub.sent("commit")]
    assert used == ["Bearer saved", "Bearer environment", "Bearer argument"]


def test_upload_that_is_cut_is_tried_again_by_the_client(folder: Path, hub: Hub) -> None:
    hub.cuts = 1
    _upload(folder, SMALL + LARGE, REPO, token=TOKEN)
    assert len(hub.sent("blob")) == len(LARGE) + 1
    assert len(hub.sent("commit")) == 1
    assert hub.models[REPO].files == _named(folder)


def test_second_call_after_a_cut_sends_only_what_is_missing(folder: Path, hub: Hub) -> None:
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    hub.broken.add(digest)
    with pytest.raises(HubError, match=r"connection broke.*not sent twice") as error:
        _upload(folder, SMALL + LARGE, REPO, token=TOKEN)
    assert SIGNATURE not in str(error.value)
    assert not hub.models[REPO].commits
    hub.broken.clear()
    hub.requests.clear()
    _upload(folder, SMALL + LARGE, REPO, token=TOKEN)
    assert [blob.path for blob in hub.sent("blob")] == [f"/blobs/{digest}"]
    assert hub.models[REPO].files == _named(folder)
    assert len(hub.models[REPO].commits) == 1


def test_hub_that_is_unavailable_for_a_moment_is_asked_again(folder: Path, hub: Hub) -> None:
    hub.faults = [("validate", 503), ("blob", 503), ("commit", 503)]
    _upload(folder, SMALL + LARGE, REPO, token=TOKEN)
    assert hub.models[REPO].files == _named(folder)
    assert len(hub.models[REPO].commits) == 1


def test_refused_commit_is_an_error_with_the_words_of_the_hub(folder: Path, hub: Hub) -> None:
    hub.faults = [("commit", 400)]
    with pytest.raises(HubError, match=r"answers 400 .*\(not now, \*\*\*, at http.*/blobs/0\); upload again"):
        _upload(folder, SMALL, REPO, token=TOKEN)


def test_hub_that_cannot_be_reached_is_an_error(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"http://127.0.0.1:9 cannot be reached.*MODELSCOPE_ENDPOINT"):
        _upload(folder, SMALL, REPO, token=TOKEN)


@pytest.mark.parametrize("name", ["README.md", "model.safetensors"])
@pytest.mark.parametrize("change", ["same size", "shorter", "longer", "replaced", "gone"])
def test_file_that_changes_during_the_upload_is_named_and_nothing_committed(
    folder: Path, hub: Hub, name: str, change: str
) -> None:
    file = folder / name
    content = file.read_bytes()

    def write(request: Request) -> None:
        if request.action != "validate":
            return
        hub.watch = lambda request: None
        if change == "gone":
            file.unlink()
        elif change == "replaced":
            (folder / "new").write_bytes(content[::-1])
            os.replace(folder / "new", file)
        else:
            changed = {"same size": content[::-1], "shorter": content[:-1], "longer": content + b"."}
            file.write_bytes(changed[change])

    hub.watch = write
    with pytest.raises(ModelFolderError, match=f"{name} changed during the upload"):
        _upload(folder, SMALL + LARGE, REPO, token=TOKEN)
    assert not hub.models[REPO].commits
    file.write_bytes(content)
    _upload(folder, SMALL + LARGE, REPO, token=TOKEN)
    assert hub.models[REPO].files == _named(folder)


def test_file_cut_short_while_it_is_sent_is_named(folder: Path, hub: Hub) -> None:
    file = folder / "model.safetensors"
    size = 64 << 20  # more than the buffers between the two sides hold
    os.truncate(file, size)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    hub.watch = lambda request: os.truncate(file, size // 2) if digest in request.path else None
    with pytest.raises(ModelFolderError, match=r"model\.safetensors changed"):
        _upload(folder, SMALL + LARGE, REPO, token=TOKEN)
    assert not hub.models[REPO].commits


def test_upload_to_a_branch_that_is_there(folder: Path, hub: Hub) -> None:
    hub.models[REPO] = Repository(branches={"master": {}, "v2": {}})
    _upload(folder, SMALL, REPO, token=TOKEN, revision="v2")
    assert hub.models[REPO].branches["v2"].keys() == set(SMALL)
    assert not hub.models[REPO].files


def test_branch_that_is_not_there_is_an_error(folder: Path, hub: Hub) -> None:
    with pytest.raises(HubError, match="upload to master first"):
        _upload(folder, SMALL, REPO, token=TOKEN, revision="v2")
    assert not hub.models
    hub.models[REPO] = Repository()
    with pytest.raises(HubError, match=r"no branch v2 \(it has master\)"):
        _upload(folder, SMALL, REPO, token=TOKEN, revision="v2")
    assert not any(request.action for request in hub.requests)


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/etc/hostname", "./README.md", "sub//large.json", "link", "linked/x"]
)
def test_path_that_leads_elsewhere_is_an_error(folder: Path, hub: Hub, name: str) -> None:
    (folder.parent / "outside.txt").write_text("outside", encoding="utf-8")
    (folder / "link").symlink_to(folder.parent / "outside.txt")
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "x").write_text("outside", encoding="utf-8")
    (folder / "linked").symlink_to(folder.parent / "elsewhere")
    with pytest.raises(InputError, match=name):
        _upload(folder, [*SMALL, name], REPO, token=TOKEN)
    assert not hub.requests


def test_path_that_the_client_would_leave_out_is_an_error(folder: Path, hub: Hub) -> None:
    (folder / "sub" / ".cache").mkdir()
    (folder / "sub" / ".cache" / "x").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match=r"never uploads \.cache"):
        _upload(folder, ["sub/.cache/x"], REPO, token=TOKEN)


def test_missing_files_are_an_error(folder: Path, hub: Hub) -> None:
    with pytest.raises(MissingFileError, match=r"no file .*absent"):
        _upload(folder, ["absent"], REPO, token=TOKEN)
    with pytest.raises(MissingFileError, match="no folder"):
        _upload(folder / "absent", SMALL, REPO, token=TOKEN)
    with pytest.raises(InputError, match="nothing to upload"):
        _upload(folder, [], REPO, token=TOKEN)
    assert not hub.requests


def test_link_inside_the_folder_goes_up_as_the_file(folder: Path, hub: Hub) -> None:
    (folder / "link.txt").symlink_to("README.md")
    _upload(folder, ["link.txt"], REPO, token=TOKEN)
    assert hub.models[REPO].files == {"link.txt": b"README.md"}


@pytest.mark.process
@pytest.mark.parametrize("show", [True, False])
@pytest.mark.parametrize("token", [TOKEN, "ms-wrong-token"])
def test_output_keeps_off_standard_output_and_holds_no_secret(folder: Path, hub: Hub, show: bool, token: str) -> None:
    hub.cuts, hub.faults = 1, [("commit", 503)]
    code = f"""
from modelscope_plugin.errors import HubError
from modelscope_plugin.publishing.upload.file_states import read_file_states
from modelscope_plugin.publishing.upload.upload import upload_folder
try:
    states = read_file_states({str(folder)!r}, {SMALL + LARGE})
    upload_folder({str(folder)!r}, states, {REPO!r}, show_progress={show})
except HubError as error:
    print(error)
print('ended')
"""
    environment = os.environ | {"MODELSCOPE_API_TOKEN": token}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("ended\n")
    assert result.stdout.count("\n") == (1 if token == TOKEN else 2)
    assert bool(hub.models) == (token == TOKEN)
    assert ("Uploading" in result.stderr) == (show and token == TOKEN)
    assert show or not result.stderr
    assert not any(secret in result.stdout + result.stderr for secret in (token, SIGNATURE, "Traceback"))


@pytest.mark.process
def test_uploaded_model_comes_back_through_pipeline_and_command_line(
    model_folder: Path, encoder: EntityEncoder, index_folder: Path, hub: Hub, tmp_path: Path
) -> None:
    export = export_model(model_folder, tmp_path / "export")
    _upload(export.folder, export.files, REPO, token=TOKEN)
    assert hub.models[REPO].files == _tree(export.folder)
    code = """
import json
import modelscope_plugin
from modelscope.pipelines import pipeline
from modelscope.utils.constant import Tasks
pipe = pipeline(Tasks.sentence_embedding, 'owner/name', device='cpu')
print(json.dumps(pipe({'source_sentence': ['大鹏']})['text_embedding'].tolist()))
"""
    vectors = np.array(json.loads(_run(hub, tmp_path, "-c", code)), dtype=np.float32)
    np.testing.assert_allclose(vectors, encoder.encode_query(["大鹏"]), atol=1e-6)
    link = ["-m", "modelscope_plugin", "link", "--model", REPO, "--index", index_folder, "--json"]
    linked = json.loads(_run(hub, tmp_path, *link, "--text", "小品里 [ENT_S] 大鹏 [ENT_E] 很好笑"))
    assert linked["mentions"][0]["mention"] == "大鹏"


def _run(hub: Hub, home: Path, *command: object) -> str:
    """The last line that a process of its own writes, which downloads from the hub."""
    environment = os.environ | {"MODELSCOPE_DOMAIN": hub.address, "HOME": str(home)}
    result = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout.splitlines()[-1]
