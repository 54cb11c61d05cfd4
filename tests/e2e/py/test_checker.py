"""The checker is worth something: each kind of damage to a good run is named."""
import copy

from checker import acknowledged_twice, check

STORE = {"c": {1: ("a", 1), 2: ("b", 2), 3: ("d", 3)}}
TOPS = {"c": 3}
LOG = [("seen", "r", "c", 1, "a", 1), ("ack", "c", "a", 1, 1, False), ("seen", "r", "c", 2, "b", 2), ("ack", "c", "b", 2, 2, False),
       ("seen", "r", "c", 3, "d", 3)]


def kinds(log=LOG, store=STORE, tops=TOPS):
    return {p.split(":")[0] for p in check(log, store, tops)}


def test_good_run():
    assert kinds() == set()
    assert acknowledged_twice(LOG) == []


def test_lost():
    store = {"c": {1: ("a", 1), 3: ("d", 3)}}
    assert kinds(store=store) == {"lost", "hole"}


def test_tail_lost():
    assert kinds(store={"c": {1: ("a", 1), 2: ("b", 2)}}, tops={"c": 2}) == {"lost", "behind"}


def test_stored_twice():
    store = copy.deepcopy(STORE)
    store["c"][4] = ("a", 1)
    assert "double" in kinds(store=store, tops={"c": 4})


def test_offset_reused():
    store = copy.deepcopy(STORE)
    store["c"][2] = ("x", 9)
    assert kinds(store=store) == {"reused"}


def test_delivered_twice_and_gap():
    assert "double or disorder" in kinds(log=LOG + [LOG[-1]])
    assert "gap" in kinds(log=[LOG[0], LOG[4]])


def test_reader_behind():
    assert "behind" in kinds(log=LOG[:3])


def test_two_offsets():
    assert acknowledged_twice(LOG + [("ack", "c", "a", 2, 1, True)])
