"""sync: the object's store has TinyBase's hashes bit for bit, and takes part in its protocol, whatever it forgets in between."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess

import pytest

from .modules import Sql, modules
from .vendored import vendored

HERE = os.path.dirname(os.path.abspath(__file__))
NOW_MS = 1_767_225_700_000


@pytest.fixture
def loaded():
    with modules("sync", "stamps", "mergeable", "peer") as found:
        yield found


@pytest.fixture(scope="module")
def recorded():
    with open(f"{HERE}/tinybase_vectors.json") as file:
        return json.load(file)


def test_the_vectors_are_what_tinybase_says_now(recorded) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the recorded answers of TinyBase are not asked for again")
    store = f"{vendored('sync')}/public/vendor/tinybase/min/mergeable-store/index.js"
    done = subprocess.run(
        [node, f"{HERE}/tinybase_vectors.mjs", store], capture_output=True, text=True, check=True, timeout=30
    )
    assert json.loads(done.stdout) == recorded


def of_steps(mergeable, steps):
    store = mergeable.Mergeable(Sql())
    for tables, values, _ in steps:
        store.merge(tables, values)
    return store


def test_hashes_as_tinybase_has_them(loaded, recorded) -> None:
    _, mergeable, _ = loaded
    steps = recorded["steps"]
    assert of_steps(mergeable, steps[:5]).hashes() == recorded["HA"]
    assert of_steps(mergeable, steps[5:]).hashes() == recorded["HB"]
    assert of_steps(mergeable, steps).hashes() == recorded["merged"]


def test_objects_and_lists_have_the_hash_of_the_store_that_made_them(loaded, recorded) -> None:
    assert of_steps(loaded[1], recorded["objects"]).hashes() == recorded["objectHashes"]


def test_differences_as_tinybase_finds_them(loaded, recorded) -> None:
    _, mergeable, _ = loaded
    a, b = of_steps(mergeable, recorded["steps"][:5]), of_steps(mergeable, recorded["steps"][5:])
    tables = a.table_diff(b.roots["t"].hashes())
    rows = a.row_diff(b.row_hashes(tables[1]))
    assert [a.roots["t"].hashes(), tables, rows, a.value_diff({})] == recorded["TA"]
    assert a.cell_diff(b.cell_hashes(rows[1])) == recorded["CD"]


def test_merging_has_no_order_and_survives_a_reload(loaded, recorded) -> None:
    _, mergeable, _ = loaded
    shuffle = random.Random(7)
    for _ in range(20):
        steps = recorded["steps"] * 2  # and again is nothing new
        shuffle.shuffle(steps)
        assert of_steps(mergeable, steps).hashes() == recorded["merged"]
    sql = Sql()
    store = mergeable.Mergeable(sql)
    for tables, values, _ in recorded["steps"]:
        assert store.merge(tables, values)
        store = mergeable.Mergeable(sql)  # it has forgotten all but what is on the disk
    assert store.hashes() == recorded["merged"]
    assert store.roots["t"].stamp(3) == of_steps(mergeable, recorded["steps"]).roots["t"].stamp(3)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (1, "1"), (1.5, "1.5"), (-12.25, "-12.25"), (1e21, "1e+21"), (1.5e300, "1.5e+300"),
     (1e20, "100000000000000000000"), (1e-6, "0.000001"), (1.25e-5, "0.0000125"), (1e-7, "1e-7"), (-1.5e-9, "-1.5e-9"),
     (123456789012345680000, "123456789012345680000"),
     (0.1, "0.1"), (1e16, "10000000000000000"), (123456.789, "123456.789"), (2**53, "9007199254740992")],
)  # fmt: skip
def test_numbers_as_javascript_writes_them(loaded, value, text) -> None:
    assert loaded[0].number(float(value)) == text


def test_lone_surrogates_are_escaped(loaded) -> None:
    assert loaded[0].as_json("\ud800\u2028é") == '"\\ud800\u2028é"'


def talk(peer, one, other, first) -> None:
    """Two of ours, each answering the other until nothing is said. They stand in for a client and for S."""
    waiting = [(other, first)]
    for turn in itertools.count():
        if not waiting:
            return
        assert turn < 50, "they go round in circles"
        hearer, (request, kind, body) = waiting.pop(0)
        answers, _ = peer.answer(hearer, request, kind, json.loads(json.dumps(body)), NOW_MS)
        if hearer is one:  # as a client, which does not offer its hashes when it is told of others
            answers = [said for said in answers if said[1] != peer.HASHES]
        waiting += [(one if hearer is other else other, said) for said in answers]


def test_two_peers_converge_from_hashes_alone(loaded, recorded) -> None:
    _, mergeable, peer = loaded
    for cut in range(len(recorded["steps"]) + 1):
        one, other = of_steps(mergeable, recorded["steps"][:cut]), of_steps(mergeable, recorded["steps"][cut:])
        talk(peer, one, other, (None, peer.HASHES, one.hashes()))
        assert one.hashes() == other.hashes() == recorded["merged"], cut


@pytest.mark.parametrize(
    ("kind", "body"),
    [(3, [1, 2]), (3, [[{"t": 1}], [{}], 1]), (3, [[{}], [{"v": [1, "zzzzzzzz--------"]}], 1]), (4, {"t": "x"}),
     (5, {"t": 3}), (3, [[{}, 7], [{}]])],
)  # fmt: skip
def test_nonsense_is_refused_and_changes_nothing(loaded, kind, body) -> None:
    _, mergeable, peer = loaded
    store = mergeable.Mergeable(Sql())
    with pytest.raises((ValueError, TypeError, AttributeError)):
        peer.answer(store, "r", kind, body, NOW_MS)
    assert store.hashes() == [0, 0]
