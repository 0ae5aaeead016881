import os

from tfbench.core.machine import cores


def test_cores_are_those_that_the_process_may_use():
    mine = os.sched_getaffinity(0)
    assert cores() == len(mine)
    try:
        os.sched_setaffinity(0, {min(mine)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, mine)
