"""Progress bars: shown on a terminal, hidden in a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(total: int | None, description: str, unit: str, show: bool | None = None, **options: Any) -> tqdm[Any]:
    """Make a progress bar on standard error.

    Args:
        total: Number of steps, or None if it is not known.
        description: Text in front of the bar.
        unit: What a step is, such as ``entity``.
        show: True or False to force it; by default it shows if standard error is a terminal.
        **options: Further options of ``tqdm``.

    Returns:
        The bar, to be used as a context manager.
    """
    # Here, because the help of the command line would wait for it.
    from tqdm import tqdm

    disable = not (sys.stderr.isatty() if show is None else show)
    return tqdm(total=total, desc=description, unit=f" {unit}", disable=disable, file=sys.stderr, **options)
