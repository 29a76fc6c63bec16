from effsearch.published import published
from searchspace import zoo
from searchspace.schema import FAMILIES


def test_every_network_of_the_zoo_has_a_published_accuracy():
    records = published()
    assert set(records) == set(zoo.names())
    for record in records.values():
        assert record.family in FAMILIES
        assert 60 < record.top1 < 90
        assert record.source
