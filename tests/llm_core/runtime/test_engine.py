"""Work ahead is bounded, and results come in the order of the items."""

import pytest

from llm_core.runtime.engine import ahead, run


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_at_most_depth_and_one_items_are_under_way(depth):
    under_way, most = set(), 0

    def submit(item):
        nonlocal most
        under_way.add(item)
        most = max(most, len(under_way))
        return item

    def collect(item):
        under_way.remove(item)
        return item * item

    assert list(ahead(range(9), submit, collect, depth)) == [(item, item * item) for item in range(9)]
    assert most == depth + 1


def double(item):
    return 2 * item


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_give_the_results_in_order(workers):
    assert list(run(double, list(range(20)), "local", workers)) == [2 * item for item in range(20)]
