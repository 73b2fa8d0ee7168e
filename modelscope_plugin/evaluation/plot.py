"""Draws recall over k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from modelscope_plugin.errors import InputError
from modelscope_plugin.storage.atomic_write import check_output_file, replace_file


def check_plot(path: str | Path) -> None:
    """Raise `InputError` if no plot can be drawn: matplotlib is missing, or ``path`` cannot be written as a PNG."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError("drawing needs matplotlib; install it with: pip install 'modelscope_plugin[plot]'") from None
    check_output_file(path)
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: the plot is written as PNG; give a name that ends in .png")


def plot_recall(curves: Mapping[str, Sequence[float]], path: str | Path) -> None:
    """Draw Recall@k over k, one curve for each method.

    Args:
        curves: For each method, by its name in the legend, recall (0 to 1) at k = 1, 2, 3 ...
        path: The PNG file to write.

    Raises:
        InputError: If matplotlib is not installed or ``path`` does not end in ``.png``.
    """
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        axes.plot(range(1, len(curve) + 1), [100 * value for value in curve], label=name)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("k")
    axes.set_ylabel("Recall@k, percent")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    with replace_file(Path(path)) as draft:
        FigureCanvasAgg(figure).print_png(str(draft))  # type: ignore[no-untyped-call]
