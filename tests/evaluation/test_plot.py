from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelscope_plugin.errors import InputError
from modelscope_plugin.evaluation.plot import plot_recall


def test_plot_draws_every_curve(tmp_path: Path) -> None:
    import matplotlib.image

    for name, curves in (("one", {"a": [0.1, 0.2]}), ("two", {"a": [0.1, 0.2], "b": [0.5, 0.9]})):
        plot_recall(curves, tmp_path / f"{name}.png")
    one, two = (matplotlib.image.imread(tmp_path / f"{name}.png") for name in ("one", "two"))
    assert one.shape == two.shape
    assert (one != two).any()


def test_plot_without_matplotlib_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'modelscope_plugin\[plot\]'"):
        plot_recall({"a": [0.5]}, tmp_path / "recall.png")


def test_plot_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.png"):
        plot_recall({"a": [0.5]}, tmp_path / "recall.pdf")
