"""Groups and pools: members, limits, the map family, cancellation."""

import random

import pytest

import treadle
from treadle.pool import Group, Pool, PoolFull
from treadle.queue import Full

pytestmark = pytest.mark.treadle


def settle():
    for _ in range(5):
        treadle.sleep(0)


def double(x):
    treadle.sleep(0)
    return 2 * x


def fail(x):
    raise KeyError(x)


def quietly(function):
    """Call *function* without the hub's reports of greenlets that fail."""
    hub = treadle.get_hub()
    hub.handle_error = lambda *args: None
    try:
        return function()
    finally:
        del hub.handle_error


@pytest.fixture(params=[Group, Pool, lambda: Pool(3)], ids=["Group", "Pool", "Pool(3)"])
def group(request):
    return request.param()


# ---------------------------------------------------------------- members


def test_members_leave_when_they_end(group):
    members = [group.spawn(treadle.sleep, 0.001 * i) for i in range(3)]
    assert len(group) == 3
    assert set(group) == set(members)
    assert members[0] in group
    assert group.join() is True
    assert not group
    assert members[0] not in group


def test_group_of_given_greenlets():
    members = [treadle.spawn(treadle.sleep, 0) for _ in range(3)]
    group = Group(members)
    assert len(group) == 3
    group.join()
    assert all(member.ready() for member in members)
    with pytest.raises(TypeError):
        Group([], [])


def test_join_timeout_and_errors(group):
    group.spawn(treadle.sleep, 10)
    assert group.join(timeout=0.001) is False
    group.kill()
    quietly(lambda: (group.spawn(fail, 1), group.join()))
    failed = group.spawn(fail, 2)
    with pytest.raises(KeyError):
        quietly(lambda: group.join(raise_error=True))
    assert failed.dead


def test_discard_and_add(group):
    greenlet = treadle.Greenlet(treadle.sleep, 0.001)
    group.add(greenlet)
    group.add(greenlet)
    assert len(group) == 1
    group.discard(greenlet)
    group.discard(greenlet)
    assert len(group) == 0
    group.start(greenlet)
    group.join()
    dead = treadle.spawn(int)
    dead.join()
    group.add(dead)
    settle()
    assert len(group) == 0


def test_greenlet_class():
    class Mine(treadle.Greenlet):
        pass

    assert isinstance(Pool(1, Mine).spawn(int), Mine)
    group = Group()
    group.greenlet_class = Mine
    assert isinstance(group.spawn(int), Mine)


def test_overridden_add_is_used():
    class Counting(Pool):
        added = 0

        def add(self, greenlet, blocking=True, timeout=None):
            self.added += 1
            super().add(greenlet, blocking, timeout)

    pool = Counting(2)
    pool.map(double, range(5))
    assert pool.added == 5


# ---------------------------------------------------------------- killing


def test_kill(group):
    members = [group.spawn(treadle.sleep, 10) for _ in range(3)]
    group.kill()
    assert all(member.dead for member in members)
    assert len(group) == 0
    assert not group.dying
    group.kill()


def test_kill_without_waiting_and_with_timeout(group):
    def stubborn():
        try:
            treadle.sleep(10)
        except treadle.GreenletExit:
            treadle.sleep(0.02)

    members = [group.spawn(stubborn) for _ in range(2)]
    settle()
    group.kill(block=False)
    assert len(group) == 2
    group.kill(timeout=0.001)
    assert len(group) == 2
    group.join()
    assert all(member.dead for member in members)


def test_kill_takes_those_that_come_meanwhile():
    group = Group()

    def spawning():
        try:
            treadle.sleep(10)
        finally:
            group.spawn(treadle.sleep, 10)

    group.spawn(spawning)
    settle()
    group.kill()
    assert len(group) == 0


def test_kill_takes_all_when_a_member_asks_for_it():
    group = Group()
    group.spawn(lambda: (treadle.sleep(0), group.kill()))
    for _ in range(20):  # many, because a set of greenlets has no order
        group.spawn(treadle.sleep, 10)
    group.join(timeout=30)
    assert len(group) == 0


def test_those_killed_before_they_began_stay_while_somebody_iterates(group):
    members = [group.spawn(treadle.sleep, 10) for _ in range(3)]
    for member in group:
        member.kill(block=False)
    group.kill(block=False)
    assert all(member.dead for member in members)
    assert len(group) == 3
    assert group.join(1)
    assert not group.dying


def test_a_place_comes_back_from_who_never_began():
    pool = Pool(1)
    pool.spawn(treadle.sleep, 10)
    pool.kill(block=False)
    assert pool.spawn(double, 4).get() == 8


def test_killone(group):
    first, second = group.spawn(treadle.sleep, 10), group.spawn(treadle.sleep, 10)
    group.killone(first)
    assert (first.dead, second.dead) == (True, False)
    group.killone(first)
    group.kill()


def test_raw_greenlets():
    group = Group()
    raw = treadle.spawn_raw(treadle.sleep, 10)
    group.add(raw)
    settle()
    group.kill()
    settle()
    assert raw.dead
    assert len(group) == 0


# ---------------------------------------------------------------- the limit


def test_limit():
    pool = Pool(2)
    most = running = 0

    def work():
        nonlocal most, running
        running += 1
        most = max(most, running)
        treadle.sleep(0)
        running -= 1

    assert (pool.free_count(), pool.full(), pool.wait_available()) == (2, False, 2)
    for _ in range(10):
        pool.spawn(work)
    assert pool.full()
    assert pool.free_count() == 0
    pool.join()
    assert most == 2
    assert pool.free_count() == 2


def test_full_pool():
    pool = Pool(1)
    pool.spawn(treadle.sleep, 10)
    waiting = treadle.Greenlet(int)
    with pytest.raises(PoolFull):
        pool.add(waiting, blocking=False)
    with pytest.raises(PoolFull):
        pool.start(waiting, timeout=0.001)
    assert pool.wait_available(timeout=0.001) == 0
    assert issubclass(PoolFull, Full)
    pool.kill()
    pool.start(waiting)
    assert waiting.get() == 0


def test_size():
    with pytest.raises(ValueError, match="-1"):
        Pool(-1)
    assert Pool(0).full()
    assert Pool().free_count() == 1
    assert not Pool().full()


def test_no_place_is_lost():
    rng = random.Random(2)
    pool = Pool(3)

    def submit():
        with treadle.Timeout(rng.random() * 0.001, False):
            pool.spawn(treadle.sleep, rng.random() * 0.001)

    submitters = []
    for _ in range(1500):
        submitters.append(treadle.spawn(submit))
        if rng.random() < 0.3:
            rng.choice(submitters).kill(block=False)
        if len(pool) and rng.random() < 0.3:
            pool.killone(rng.choice(list(pool)), block=rng.random() < 0.5)
        if rng.random() < 0.1:
            treadle.sleep(rng.random() * 0.001)
    treadle.joinall(submitters)
    pool.join()
    assert pool.free_count() == 3
    assert pool.wait_available() == 3
    for _ in range(3):
        pool.spawn(int)
    assert pool.full()


# ---------------------------------------------------------------- apply and map


def test_apply(group):
    assert group.apply(double, (2,)) == 4
    assert group.apply(dict, kwds={"a": 1}) == {"a": 1}
    with pytest.raises(KeyError):
        quietly(lambda: group.apply(fail, (1,)))
    assert group.apply(lambda: group.apply(lambda: group.apply(double, (1,)))) == 2


def test_apply_in_a_full_pool_from_a_member():
    pool = Pool(1)
    assert pool.apply(lambda: pool.apply(double, (1,))) == 2


def test_apply_async_and_callbacks(group):
    seen = []
    assert group.apply_async(double, (1,), callback=seen.append).get() == 2
    assert group.apply_cb(double, (2,), callback=seen.append) == 4
    assert group.map_cb(double, [3], callback=seen.append) == [6]
    assert group.map_async(double, [4], callback=seen.append).get() == [8]
    settle()
    assert sorted(seen, key=str) == [2, 4, [6], [8]]


def test_apply_async_never_waits():
    pool = Pool(1)
    pool.spawn(treadle.sleep, 0.001)
    assert pool.full()
    assert pool.apply_async(double, (1,)).get() == 2


def test_map(group):
    assert group.map(double, range(10)) == list(range(0, 20, 2))
    assert group.map(double, []) == []
    done = []

    def work(x):
        if x == 1:
            fail(x)
        done.append(x)

    with pytest.raises(KeyError):
        quietly(lambda: group.map(work, range(5)))
    group.join()
    assert done == [0, 2, 3, 4]


def test_imap(group):
    def late(x):
        treadle.sleep(0.002 if x % 2 else 0)
        return x

    assert list(group.imap(late, range(6))) == list(range(6))
    assert sorted(group.imap_unordered(late, range(6))) == list(range(6))
    assert list(group.imap(lambda a, b: a + b, [1, 2], [3, 4, 5])) == [4, 6]
    empty = group.imap(late, [])
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(empty)


def test_imap_unordered_gives_the_first_first():
    def late(x):
        treadle.sleep(x)
        return x

    assert list(Group().imap_unordered(late, [0.01, 0, 0.005])) == [0, 0.005, 0.01]


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_imap_errors(group, name):
    imap = getattr(group, name)

    def items():
        yield 1
        yield 2
        raise LookupError("no more")

    def check():
        it = imap(double, items())
        assert [next(it), next(it)] == [2, 4]
        with pytest.raises(LookupError):
            next(it)
        with pytest.raises(StopIteration):
            next(it)
        it = imap(lambda x: fail(x) if x == 1 else x, range(3))
        got = []
        while True:
            try:
                got.append(next(it))
            except KeyError:
                got.append("failed")
            except StopIteration:
                break
        assert sorted(got, key=str) == [0, 2, "failed"]

    quietly(check)


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_imap_maxsize(name):
    begun = []
    it = getattr(Pool(10), name)(begun.append, range(20), maxsize=2)
    settle()
    assert len(begun) == 2
    next(it)
    settle()
    assert len(begun) <= 4
    assert len(list(it)) == 19
    with pytest.raises(TypeError):
        getattr(Pool(1), name)(double, [1], size=2)


def test_killed_imap_ends():
    pool = Pool(1)
    it = pool.imap(treadle.sleep, [10, 10])
    settle()
    it.kill()
    reader = treadle.spawn(next, it)
    settle()
    assert not reader.ready()  # the first task still runs
    reader.kill()
    pool.kill()


def test_one_greenlet_has_several_groups_locals_and_links():
    first, second = Group(), Group()
    local = treadle.local.local()
    told = []

    def work():
        local.value = 1
        treadle.sleep(0.01)

    greenlet = treadle.spawn(work)
    settle()
    first.add(greenlet)
    second.add(greenlet)
    greenlet.rawlink(told.append)
    assert greenlet.has_links() == 3
    first.discard(greenlet)
    assert greenlet.has_links() == 2
    greenlet.unlink_all()
    assert greenlet.has_links() == 1  # groups need theirs
    greenlet.rawlink(told.append)
    first.add(greenlet)
    greenlet.join()
    settle()
    assert told == [greenlet]
    assert not first
    assert not second
    assert greenlet.has_links() == 0
