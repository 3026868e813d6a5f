"""Over all processes each item counts once, and all processes take as many steps."""

from common.measure.shares import share_out

import pytest


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 7, 8])
def test_each_item_counts_once_and_no_process_waits(count: int, world_size: int):
    shares = [share_out(count, rank, world_size) for rank in range(world_size)]
    assert sorted(index for share in shares for index, counts in share if counts) == list(range(count))
    assert len({len(share) for share in shares}) == 1
    assert sum(len(share) for share in shares) - count < world_size
    assert all(0 <= index < count for share in shares for index, _ in share)


def test_what_does_not_share_out_is_repeated_by_the_last():
    assert share_out(3, 0, 2) == [(0, True), (2, True)]
    assert share_out(3, 1, 2) == [(1, True), (0, False)]
