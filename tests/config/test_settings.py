from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.config.configuration import MISSING, default_configuration, find_default, merge_configurations
from modelscope_plugin.config.evaluation_settings import find_ks
from modelscope_plugin.config.model_settings import ModelSettings, PipelineSettings, WindowSettings, find_model_type
from modelscope_plugin.config.settings import NONE, Setting, Settings, read_settings, setting, setting_of
from modelscope_plugin.config.training_settings import (
    MiningSettings,
    RunSettings,
    TrainingSettings,
    read_training_configuration,
    read_training_settings,
)
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.errors import InputError, ModelFolderError, PluginError

KINDS = (ModelSettings, WindowSettings, PipelineSettings, TrainingSettings, MiningSettings, RunSettings, ViewSettings)
DECLARATIONS = [
    pytest.param(declared, id=f"{kind.__name__}.{name}")
    for kind in KINDS
    for name, declared in kind.declarations().items()
]


@dataclass(frozen=True)
class _Settings(Settings):
    rate: float = setting("train.temperature", above=0, help="a rate")
    margin: float | None = setting("train.mining.absolute_margin")
    strategy: Literal["random", "top"] = setting("train.mining.sampling_strategy")
    strict: bool = setting("train.symmetric")
    folder: str = setting("train.work_dir", fallback_path="train.folder")


def _write(folder: Path, configuration: Any) -> Path:
    (folder / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
    return folder


def test_annotation_gives_kind_choices_and_null() -> None:
    facts = {name: (one.kind, one.choices, one.nullable) for name, one in _Settings.declarations().items()}
    assert facts == {
        "rate": (float, (), False),
        "margin": (float, (), True),
        "strategy": (str, ("random", "top"), False),
        "strict": (bool, (), False),
        "folder": (str, (), False),
    }


def test_defaults_are_those_of_the_shipped_configuration() -> None:
    assert _Settings() == _Settings(1.0, None, "random", False, "./work_dir")


def test_value_is_returned_in_the_type_of_the_setting() -> None:
    assert isinstance(_Settings(rate=2).rate, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 0}, r"^rate=0 must be a finite number above 0$"),
        ({"rate": None}, r"^rate=None must be a number above 0$"),
        ({"strategy": "best"}, r"^unknown strategy 'best'; choose from random, top$"),
        ({"strict": 1}, r"^strict=1 must be true or false$"),
        ({"folder": 1}, r"^folder=1 must be a string$"),
    ],
)
def test_bad_value_is_named_with_what_would_be_right(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _Settings(**change)


def test_fallback_path_is_read_where_the_path_has_no_value() -> None:
    assert _Settings.from_configuration({"train": {"folder": "a"}}).folder == "a"
    assert _Settings.from_configuration({"train": {"folder": "a", "work_dir": "b"}}).folder == "b"


def test_null_is_the_default_where_a_setting_cannot_be_null() -> None:
    assert _Settings.from_configuration({"train": {"temperature": None, "mining": None}}) == _Settings()


def test_setting_of_another_class_takes_its_declaration_over() -> None:
    @dataclass(frozen=True)
    class Other(Settings):
        rate: float = setting_of(_Settings, "rate", help="another rate")

    assert Other.declarations()["rate"] == Setting("train.temperature", "another rate", above=0, kind=float)


def test_read_settings_names_the_file_of_a_bad_value_and_not_of_a_bad_change(tmp_path: Path) -> None:
    folder = _write(tmp_path, {"train": {"temperature": 3}})
    assert read_settings(_Settings, folder, margin=NONE, strict=True) == _Settings(rate=3, strict=True)
    with pytest.raises(InputError, match=r"^rate=-1 must"):
        read_settings(_Settings, folder, rate=-1)
    _write(tmp_path, {"train": {"temperature": "warm"}})
    with pytest.raises(ModelFolderError, match=r"configuration\.json: train\.temperature='warm' must be a number"):
        read_settings(_Settings, folder)


@pytest.mark.parametrize("declared", DECLARATIONS)
def test_every_setting_has_a_default_in_configuration_json(declared: Setting) -> None:
    if declared.default is None:
        assert find_default(declared.path) is not MISSING
    declared.check(declared.get_default(), declared.path)


@pytest.mark.parametrize("declared", DECLARATIONS)
def test_label_is_there_in_both_languages_or_in_none(declared: Setting) -> None:
    assert bool(declared.zh) == bool(declared.en)


def test_card_labels_are_in_the_order_of_the_card() -> None:
    assert list(TrainingSettings.card_labels("zh")) == list(TrainingSettings.card_labels("en"))
    assert list(TrainingSettings.card_labels("en")) == [
        "batch_size", "mini_batch_size", "gradient_accumulation_steps", "lr_scheduler_type", "warmup_ratio",
        "weight_decay", "max_grad_norm", "temperature", "symmetric", "dropout", "mixed_precision", "max_length",
        "views", "seed",
    ]  # fmt: skip
    assert list(MiningSettings.card_labels("zh")) == [name for name in MiningSettings.declarations() if name != "seed"]
    assert (TrainingSettings.card_labels("zh")["seed"], TrainingSettings.card_labels("en")["seed"]) == (
        "随机种子",
        "seed",
    )


_LEAVES = [declared.path for kind in KINDS for declared in kind.declarations().values()]
_LEAVES += ["model.type", "preprocessor.sequence_length", "evaluation.metrics"]
PATHS = sorted({path[:end] for path in _LEAVES for end in (len(path), path.index("."), path.rindex("."))})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
) | st.builds(lambda k: [{"type": "entity-recall", "k": k}], st.none() | st.integers() | st.lists(st.integers()))


@given(values=st.dictionaries(st.sampled_from(PATHS), JSON, max_size=3), ours=st.booleans())
def test_any_value_at_any_path_gives_a_result_or_an_error_of_ours(values: dict[str, Any], ours: bool) -> None:
    configuration: dict[str, Any] = default_configuration() if ours else {}
    for path, value in values.items():
        for key in reversed(path.split(".")):
            value = {key: value}
        configuration = merge_configurations(configuration, value)
    with tempfile.TemporaryDirectory() as name:
        folder = _write(Path(name), configuration)

        readings = [
            lambda: read_training_settings(read_training_configuration(folder, kinds=(ViewSettings,))),
            lambda: ViewSettings.from_configuration(configuration),
            lambda: find_ks(configuration),
            lambda: find_model_type(configuration, folder),
            *(partial(read_settings, kind, folder) for kind in (ModelSettings, WindowSettings, PipelineSettings)),
        ]
        for read in readings:
            with suppress(PluginError):
                read()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": 2}, r"configuration\.json: model must be a JSON object, not 2"),
        (
            {"preprocessor": {"max_length": 1.5}},
            r"configuration\.json: preprocessor\.max_length=1\.5 must be",
        ),
        ({"train": {"stages": "two"}}, r"configuration\.json: train\.stages='two' must be an integer of at least 1"),
        ({"train": {"stage_two": 2}}, r"configuration\.json: train\.stage_two must be a JSON object, not 2"),
        ({"index": {"merge_rounds": -1}}, r"configuration\.json: index\.merge_rounds=-1 must be"),
        ({"index": []}, r"configuration\.json: index must be a JSON object"),
        ({"evaluation": {"metrics": 1}}, r"configuration\.json: evaluation\.metrics=1 must be a list"),
        (
            {"evaluation": {"metrics": [{"type": "entity-recall", "k": [1, 0]}]}},
            r"configuration\.json: evaluation\.metrics\.k=0 must be an integer of at least 1",
        ),
    ],
)
def test_bad_value_of_a_model_folder_is_named_with_its_file(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    _write(tmp_path, merge_configurations(default_configuration(), changes))
    with pytest.raises(ModelFolderError, match=message):
        read_training_configuration(tmp_path, kinds=(ViewSettings,))


def test_bad_value_of_a_further_file_is_named_with_that_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"^own\.json: train\.seed=-1 must"):
        read_training_configuration(tmp_path, {Path("own.json"): {"train": {"seed": -1}}})
