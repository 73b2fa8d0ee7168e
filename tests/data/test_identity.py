from __future__ import annotations

import pytest
from conftest import ENTITIES

from modelscope_plugin.data import Entity
from modelscope_plugin.data.identity import check_unique_ids
from modelscope_plugin.errors import InputError


def test_entities_of_different_ids_pass_in_their_order() -> None:
    assert list(check_unique_ids(iter(ENTITIES))) == ENTITIES


@pytest.mark.parametrize(("again", "message"), [("roc", "id 'roc' stands twice"), (" ", "there is an empty id")])
def test_empty_and_repeated_ids_are_refused(again: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(check_unique_ids([*ENTITIES, Entity(again, "名")]))
