from __future__ import annotations

from conftest import ENTITIES, MENTIONS

from modelscope_plugin.data.checksum import Checksum


def test_checksum_lets_records_through_and_counts_them() -> None:
    checksum = Checksum()
    assert list(checksum.over(ENTITIES)) == ENTITIES
    assert checksum.to_record()["count"] == checksum.count == len(ENTITIES)


def test_checksum_is_that_of_the_records_in_their_order() -> None:
    def value(records: list[object]) -> object:
        checksum = Checksum()
        list(checksum.over(records))  # type: ignore[type-var]
        return checksum.to_record()["checksum"]

    assert value([*MENTIONS]) == value([*MENTIONS])
    assert len({value([*MENTIONS]), value([*MENTIONS[::-1]]), value([*MENTIONS[1:]]), value([*ENTITIES])}) == 4
