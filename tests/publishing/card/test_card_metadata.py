from __future__ import annotations

import pytest

from modelscope_plugin.errors import FolderCheckError
from modelscope_plugin.publishing.card.metadata import check_card

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
        ("---\nlicense: " + "[" * 3000 + "\n---\n" + TEXT, "does not begin with the hub's metadata"),
        (HEAD.replace("license: mit\n", "") + TEXT, "has no license"),
        (HEAD.replace("- zh\n", "") + TEXT, "has no language"),
        (HEAD + "short " * 30, "at most 200 characters"),
        ("", "does not begin"),
    ],
)
def test_card_that_the_hub_would_not_show_is_refused(card: str, message: str) -> None:
    with pytest.raises(FolderCheckError, match=message):
        check_card(card)
