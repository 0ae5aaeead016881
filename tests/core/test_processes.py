import os
import signal
import subprocess
import sys
import time

from tfbench.core.processes import worker_context

PARENT = """
import os, signal, time
from tfbench.core.processes import begin_worker, worker_context

def work(pid):
    begin_worker()
    pid.send(os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    here, there = worker_context([]).Pipe()
    worker_context([]).Process(target=work, args=(there,)).start()
    print(here.recv(), flush=True)
    time.sleep(60)
"""


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_worker_ends_with_its_parent_and_leaves_ctrl_c_to_it(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:
        worker = int(parent.stdout.readline())
        os.kill(worker, signal.SIGINT)
        time.sleep(0.2)
        assert not ended(worker)
        parent.kill()
    for _ in range(100):
        if ended(worker):
            return
        time.sleep(0.1)
    raise AssertionError("the worker goes on without its parent")


def test_workers_begin_as_copies_where_that_can_be():
    wanted = "forkserver" if sys.platform == "linux" else "spawn"
    assert worker_context([]).get_start_method() == wanted
