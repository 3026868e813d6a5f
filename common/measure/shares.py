"""What each process takes of a whole."""


def share_out(count: int, rank: int, world_size: int) -> list[tuple[int, bool]]:
    """Returns which of some items a process takes.

    Every process takes as many as the others, or they would wait for ever where ZeRO-3 gathers layers at each step. If the
    items do not share out evenly, the last processes take the first one once more, and do not count it.

    Args:
        count: Number of items.
        rank: Number of the process, from 0.
        world_size: Number of processes.

    Returns:
        Pairs of an item's number and whether it counts. Over all processes each item counts once.
    """
    taken = [(index, True) for index in range(rank, count, world_size)]
    return taken + [(0, False)] * (-(-count // world_size) - len(taken))
