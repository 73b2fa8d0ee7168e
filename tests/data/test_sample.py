from collections import Counter

import pytest

from modelscope_plugin.data.readers import read_entities, read_mentions
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.data.sample import sample_file

SPLITS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def entities() -> list[Entity]:
    return list(read_entities(sample_file("entities")))


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Mention]]:
    return {split: list(read_mentions(sample_file(split))) for split in SPLITS}


def bare(mention: Mention) -> str:
    return "".join(mention.text.split())


def test_sample_has_two_hundred_entities(entities: list[Entity]) -> None:
    assert len(entities) >= 200


def test_sample_has_six_hundred_sentences(splits: dict[str, list[Mention]]) -> None:
    assert sum(map(len, splits.values())) >= 600


def test_sample_ids_are_unique(entities: list[Entity]) -> None:
    assert len({entity.id for entity in entities}) == len(entities)


def test_sample_entities_are_described(entities: list[Entity]) -> None:
    assert [entity.id for entity in entities if not entity.description or not entity.types] == []


def test_sample_has_a_hundred_entities_that_share_a_name(entities: list[Entity]) -> None:
    bearers = Counter(name for entity in entities for name in {entity.name, *entity.aliases})
    assert sum(any(bearers[name] > 1 for name in (entity.name, *entity.aliases)) for entity in entities) >= 100


@pytest.mark.parametrize("split", SPLITS)
def test_sample_mentions_all_have_a_gold_entity_that_exists(
    split: str, splits: dict[str, list[Mention]], entities: list[Entity]
) -> None:
    ids = {entity.id for entity in entities}
    assert [m.text for m in splits[split] if not m.entity_ids or not ids.issuperset(m.entity_ids)] == []


@pytest.mark.parametrize("split", SPLITS)
def test_sample_split_has_no_sentence_twice(split: str, splits: dict[str, list[Mention]]) -> None:
    assert [text for text, count in Counter(map(bare, splits[split])).items() if count > 1] == []


@pytest.mark.parametrize(("one", "other"), [("train", "dev"), ("train", "test"), ("dev", "test")])
def test_sample_splits_share_no_sentence(one: str, other: str, splits: dict[str, list[Mention]]) -> None:
    assert {bare(mention) for mention in splits[one]} & {bare(mention) for mention in splits[other]} == set()


def test_sample_file_refuses_an_unknown_name() -> None:
    with pytest.raises(ValueError, match="there are entities, train, dev, test"):
        sample_file("../secret")
