"""Small faults, planted one at a time in a copy of the checkout: an assertion of the named test catches each.

``python -m tests.faults.planted.run`` prints the list with the test that catches each.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.planted.run import Copy, Fault, Unfit, faults
from tests.support.figures import functions
from tests.support.fixtures import Figure
from tests.support.paths import ROOT

FAULTS = faults()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    with Copy(tmp_path_factory.mktemp("checkout")) as copy:
        yield copy


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_fault_matches_its_file(fault: Fault) -> None:
    text = (ROOT / fault.file).read_text(encoding="utf-8")
    assert fault.planted_in(text) != text


def test_faults_are_many_and_distinct() -> None:
    assert len(FAULTS) >= 60
    assert len({fault.what for fault in FAULTS}) == len({(fault.file, fault.old, fault.new) for fault in FAULTS})


def test_what_catches_a_fault_exists() -> None:
    tests = {test.partition("[")[0] for fault in FAULTS for test in fault.caught_by}
    assert sorted(test for test in tests if test not in functions() and not (ROOT / test).is_file()) == []


def test_missing_or_repeated_text_is_reported() -> None:
    fault = Fault("a fault", "a.sh", "old", "new", [])
    assert fault.planted_in("old text") == "new text"
    for text, count in (("text", 0), ("old old", 2)):
        with pytest.raises(Unfit, match=f"a fault: in a.sh this text occurs {count} times, not once: 'old'"):
            fault.planted_in(text)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_fails_without_a_fault(copy: Copy) -> None:
    assert copy.failures(sorted({test for fault in FAULTS for test in fault.caught_by}), patience=580) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_fault_is_caught(fault: Fault, copy: Copy, figure: Figure) -> None:
    with copy.planted(fault):
        caught = copy.failures(fault.caught_by)
    figure("planted faults are caught", f"{bool(caught):d} of 1")
    print(f"{fault.what}: {caught}")
    assert caught, f"no test of {fault.caught_by} caught it"
