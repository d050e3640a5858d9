"""Rule: a checker that cannot fail is worse than none: what the torture test judges by finds each kind of wrong. The
rules themselves are in ledger.py."""

from ledger import ACKNOWLEDGED, UNKNOWN, Item, Key


def written(outcomes):
    """A key with one write after the other, each covering all before; `None`: refused as not applied."""
    key, covers = Key(b"k"), []
    for outcome in outcomes:
        item = Item(key, list(covers))
        item.settle(outcome)
        covers.append(item.serial)
    return key


def expect(key, serials, lost=0, resurrected=0, phantom=0, doubled=0):
    values = [key.value(s) if isinstance(s, int) else s for s in serials]
    assert key.judge(values) == (lost, resurrected, phantom, doubled), (serials, key.judge(values))


def main():
    one = written([ACKNOWLEDGED])
    expect(one, [1])
    expect(one, [], lost=1)
    expect(one, [1, 1], doubled=1)
    expect(one, [1, 2], phantom=1)
    expect(one, [1, b"rubbish"], phantom=1)
    expect(one, [one.value(1)[:-1]], lost=1, phantom=1)

    two = written([ACKNOWLEDGED, ACKNOWLEDGED])
    expect(two, [2])
    expect(two, [1, 2], resurrected=1)
    expect(two, [1], lost=1, resurrected=1)

    open_end = written([ACKNOWLEDGED, UNKNOWN])  # either, or both, or what it wrote alone
    for serials in ([1], [2], [1, 2], []):
        expect(open_end, serials)

    refused = written([ACKNOWLEDGED, None])
    expect(refused, [1])
    expect(refused, [2], lost=1, phantom=1)

    deleted = written([ACKNOWLEDGED])
    Item(deleted, [1], delete=True).settle(ACKNOWLEDGED)
    assert deleted.deleted
    expect(deleted, [])
    expect(deleted, [1], resurrected=1)

    siblings = written([ACKNOWLEDGED])
    Item(siblings, []).settle(ACKNOWLEDGED)  # did not know of the first
    expect(siblings, [1, 2])
    expect(siblings, [2], lost=1)
    print("lost, resurrected, phantom and doubled values are found")


if __name__ == "__main__":
    main()
