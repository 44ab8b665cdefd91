"""Greenlet-local attributes."""

import copy
import gc
import weakref
from _thread import start_new_thread

import pytest

import treadle
from treadle.local import all_local_dicts_for_greenlet, local
from treadle.queue import SimpleQueue


class Item:
    pass


def elsewhere(function):
    """Return the value of *function* in another greenlet."""
    return treadle.spawn(function).get()


def in_thread(function):
    """Return the value of *function* in a native thread without a hub."""
    done = SimpleQueue()
    start_new_thread(lambda: done.put(function()), ())
    return done.get()


@pytest.mark.parametrize("where", [elsewhere, in_thread])
def test_attributes_belong_to_one_greenlet(where):
    data = local()
    data.x = 1

    def other():
        assert not hasattr(data, "x")
        assert data.__dict__ == {}
        data.x = 2
        return data.x

    assert where(other) == 2
    assert data.x == 1
    assert vars(data) == {"x": 1}
    assert "x" in dir(data)
    del data.x
    with pytest.raises(AttributeError, match="x"):
        data.x  # noqa: B018
    with pytest.raises(AttributeError, match="x"):
        del data.x


def test_interleaved_greenlets():
    data = local()

    def count(n):
        for i in range(n, n + 20):
            data.value = i
            treadle.sleep(0)
            assert data.value == i

    greenlets = [treadle.spawn(count, 100 * i) for i in range(10)]
    for greenlet in greenlets:
        greenlet.get()


def test_raw_greenlets():
    data = local()
    data.x = 1
    seen = []
    treadle.spawn_raw(lambda: seen.append(hasattr(data, "x")))
    treadle.sleep(0)
    assert seen == [False]


def test_init_is_called_once_in_each_greenlet():
    calls = []

    class Mine(local):
        shared = "class"

        def __init__(self, a, b=0):
            calls.append((a, b))
            self.sum = a + b

    data = Mine(1, b=2)
    assert (data.sum, data.sum) == (3, 3)
    data.sum = 7
    assert elsewhere(lambda: (data.sum, data.sum)) == (3, 3)
    assert in_thread(lambda: data.sum) == 3
    assert calls == [(1, 2)] * 3
    assert data.sum == 7
    assert data.shared == "class"


def test_failing_init_is_tried_again():
    class Mine(local):
        fails = False

        def __init__(self):
            if type(self).fails:
                raise ValueError("not now")
            self.x = 1

    data = Mine()

    def other():
        Mine.fails = True
        with pytest.raises(ValueError, match="not now"):
            data.x  # noqa: B018
        Mine.fails = False
        return data.x

    assert elsewhere(other) == 1


def test_arguments_without_init():
    with pytest.raises(TypeError):
        local(1)
    with pytest.raises(TypeError):
        local(a=1)


def test_dict_is_read_only():
    data = local()
    with pytest.raises(AttributeError, match="read-only"):
        data.__dict__ = {}
    with pytest.raises(AttributeError, match="read-only"):
        del data.__dict__


def test_slots_properties_and_getattr():
    class Mine(local):
        __slots__ = ("shared",)

        @property
        def both(self):
            return self.own, self.shared

        @both.setter
        def both(self, value):
            self.own, self.shared = value

        def __getattr__(self, name):
            return f"no {name}"

        def method(self):
            return self.own

    data = Mine()
    data.both = (1, 2)
    assert data.both == (1, 2)
    assert data.method() == 1
    assert data.nothing == "no nothing"
    assert elsewhere(lambda: data.both) == ("no own", 2)


def test_copy():
    class Mine(local):
        def __init__(self, start):
            self.start = start

    data = Mine(5)
    data.start = 6
    data.more = []
    other = copy.copy(data)
    assert vars(other) == {"start": 6, "more": []}
    assert other.more is data.more
    other.start = 7
    assert data.start == 6
    assert elsewhere(lambda: other.start) == 5


def test_module_and_weak_reference():
    data = local()
    assert weakref.ref(data)() is data
    assert local.__module__ == "treadle.local"


# ---------------------------------------------------------------- ends


@pytest.mark.parametrize("where", [elsewhere, in_thread])
def test_attributes_go_with_their_greenlet(where):
    data = local()
    gone = []

    def other():
        data.item = Item()
        gone.append(weakref.ref(data.item))

    where(other)
    for _ in range(100):
        if gone[0]() is None:
            break
        treadle.sleep(0.01)  # the thread is ending
    assert gone[0]() is None


def test_attributes_go_though_the_greenlet_is_kept():
    data = local()
    ended = treadle.spawn(lambda: setattr(data, "item", Item()) or weakref.ref(data.item))
    assert ended.get()() is None
    assert ended.dead


def test_attributes_go_with_the_local():
    data = local()
    data.item = Item()
    gone = weakref.ref(data.item)
    del data
    assert gone() is None


def test_cycle_through_an_attribute_is_collected():
    data = local()
    data.item = Item()
    data.item.owner = data
    gone = weakref.ref(data.item)
    del data
    gc.collect()
    assert gone() is None


def test_debuggers_see_the_attributes_of_a_greenlet():
    mine = local()
    mine.number = 7
    found = dict(all_local_dicts_for_greenlet(greenlet=treadle.getcurrent()))
    assert found[local, id(mine)]["number"] == 7


def test_no_growth():
    data = local()

    def use(i):
        data.value = i

    for i in range(2000):
        treadle.spawn(use, i).join()
        other = local()
        other.x = i
    del other
    gc.collect()
    before = len(gc.get_objects())
    for i in range(5000):
        treadle.spawn(use, i).join()
        other = local()
        other.x = i
    del other
    gc.collect()
    assert len(gc.get_objects()) - before < 100


def test_finalizer_of_an_attribute_may_use_locals_and_switch():
    data = local()
    seen = []

    class Closing:
        def __del__(self):
            treadle.sleep(0)
            data.late = 1
            seen.append(data.late)

    def use():
        data.item = Closing()

    treadle.spawn(use).join()
    treadle.sleep(0)
    treadle.sleep(0)
    assert seen == [1]
