"""The options of settings, as their declarations give them."""

from __future__ import annotations

import argparse

import pytest

from modelscope_plugin.cli.arguments import add_setting_options, get_given_settings
from modelscope_plugin.cli.main import add_commands
from modelscope_plugin.config.settings import NONE
from modelscope_plugin.config.training_settings import MiningSettings, TrainingSettings

MINING = {
    "--num-negatives", "--range-min", "--range-max", "--sampling-strategy", "--absolute-margin", "--name-negatives",
    "--seed",
}  # fmt: skip
TRAINING = {
    "--max-length", "--pooling", "--normalize", "--no-normalize", "--towers", "--stages", "--epochs",
    "--stage-two-epochs", "--batch-size", "--mini-batch-size", "--gradient-accumulation-steps", "--learning-rate",
    "--stage-two-learning-rate", "--lr-scheduler-type", "--warmup-ratio", "--weight-decay", "--max-grad-norm",
    "--mixed-precision", "--dropout", "--temperature", "--symmetric", "--no-symmetric", "--random-negatives",
    "--hard-negatives", "--views", "--kb-mentions", "--skip-unknown", "--no-skip-unknown", "--eval-steps",
    "--eval-max-entities", "--early-stopping-patience", "--save-steps",
}  # fmt: skip
OTHERS = {
    "train": {
        "-h", "--help", "--model", "--kb", "--train", "--dev", "--out", "--resume", "--config", "--tensorboard", "--k",
        "--overwrite",
        "--device", "--encoding", "--skip-broken", "--alias-separator", "--json",
    },
    "mine": {
        "-h", "--help", "--index", "--kb", "--out", "--model", "--device", "--batch-size", "--max-length", "--backend",
        "--dtype", "--compile", "--encoding", "--skip-broken", "--alias-separator", "--json",
    },
}  # fmt: skip


def _command(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_commands(parser)
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices[name]


@pytest.mark.parametrize(("name", "settings"), [("train", TRAINING | MINING), ("mine", MINING)])
def test_options_of_a_command(name: str, settings: set[str]) -> None:
    assert set(_command(name)._option_string_actions) == settings | OTHERS[name]


@pytest.mark.parametrize(
    ("name", "kinds"), [("train", (TrainingSettings, MiningSettings)), ("mine", (MiningSettings,))]
)
def test_every_setting_has_an_option_whose_help_says_the_default(name: str, kinds: tuple[type, ...]) -> None:
    helps = {action.dest: action.help or "" for action in _command(name)._actions}
    names = [one for kind in kinds for one in kind.declarations()]
    assert [one for one in names if "(default: " not in helps[one]] == []


def _parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_setting_options(parser, TrainingSettings)
    return parser.parse_args(arguments)


def test_help_says_defaults_as_configuration_json_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "peak learning rate of AdamW (default: 2e-05)" in text
    assert "scale vectors to length 1 (default: false)" in text
    assert "number format of the encoder (default: no)" in text


def test_only_given_settings_are_not_none() -> None:
    given = get_given_settings(_parse("--epochs", "7", "--no-normalize", "--dropout", "none"), TrainingSettings)
    assert {name: value for name, value in given.items() if value is not None} == {
        "max_epochs": 7,
        "normalize": False,
        "dropout": NONE,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "0"], "argument --stages: value=0 must be an integer of at least 1"),
        (["--batch-size", "2.5"], "argument --batch-size: value='2.5' must be an integer of at least 1"),
        (
            ["--dropout", "1"],
            "argument --dropout: value=1.0 must be a finite number of at least 0 and below",
        ),
        (["--dropout", "half"], "argument --dropout: value='half' must be a number of at least 0 and below 1, or none"),
        (["--seed", "none"], "argument --seed: value='none' must be an integer between 0 and 2147483647"),
        (["--mixed-precision", "int8"], "invalid choice: 'int8'"),
        (["--lr-scheduler-type", "steep"], "invalid choice: 'steep'"),
    ],
)
def test_bad_value_of_an_option_is_refused_by_the_parser(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as status:
        _parse(*arguments)
    assert status.value.code == 2
    assert message in capsys.readouterr().err
