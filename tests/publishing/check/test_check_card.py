from __future__ import annotations

import pytest

from modelscope_plugin.errors import FolderCheckError
from modelscope_plugin.publishing.check.card import check_card, python_blocks

HEAD = "---\ntasks:\n- sentence-embedding\nframeworks:\n- pytorch\nlicense: mit\nlanguage:\n- zh\n---\n"
TEXT = "x" * 201


def test_whole_card_passes() -> None:
    check_card(HEAD + TEXT)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (TEXT, "does not begin with the hub's metadata"),
        ("text\n" + HEAD + TEXT, "does not begin with the hub's metadata"),
        ("---\n{\n---\n" + TEXT, "does not begin with the hub's metadata"),
        (HEAD.replace("license: mit\n", "") + TEXT, "has no license"),
        (HEAD.replace("- zh\n", "") + TEXT, "has no language"),
        (HEAD + "short " * 30, "at most 200 characters"),
        ("", "does not begin"),
    ],
)
def test_card_that_the_hub_would_not_show_is_refused(card: str, message: str) -> None:
    with pytest.raises(FolderCheckError, match=message):
        check_card(card)


@pytest.mark.parametrize(
    "opening",
    ["```python", "``` python", "```Python", "```py", "```python3", "```python title=demo", "~~~python", "````python"],
)
def test_block_is_found_however_it_is_fenced(opening: str) -> None:
    fence = opening[: 4 if opening.startswith("````") else 3]
    assert python_blocks(f"text\n{opening}\nprint(1)\n{fence}\nmore\n") == ["print(1)\n"]


def test_blocks_keep_their_order_and_lose_their_indent() -> None:
    card = "- list:\n\n  ```python\n  if True:\n      a()\n  ```\n\n```bash\nls\n```\n\n```py\nb()\n```\n"
    assert python_blocks(card) == ["if True:\n    a()\n", "b()\n"]


def test_other_languages_are_no_python() -> None:
    assert python_blocks("```bash\npython x\n```\n```\nprint(1)\n```\n```pytb\nError\n```\n") == []
