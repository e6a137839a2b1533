"""Kill a node of a Ray cluster in mid-run, in every stage of the data path; the bytes must be those of one machine.

    python -m benchmarks.ray_kills --kills 10
    python -m benchmarks.ray_kills --kills 4 --stages mix index

The cluster is two network namespaces (tests/two_hosts.py, as root). In each round Ray is started on the second host,
a stage is begun, and while a worker of that host runs its first piece, or 0.2 or 0.4 seconds later, every process of
the host is killed with SIGKILL (raylet, agents, workers). Prints a line for each kill.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from llm_core.runtime.digests import content_digest
from tests.data_path import STAGES, write_corpus
from tests.two_hosts import TwoHosts, why_not


def main() -> None:
    """Kill so many times, in stage after stage; exits with 1 where bytes differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="default: all, one after the other")
    chosen = parser.parse_args()
    kills = chosen.kills
    if why := why_not():
        sys.exit(why)
    good = 0
    with tempfile.TemporaryDirectory(prefix="r") as ray, tempfile.TemporaryDirectory() as place:
        work = Path(place)
        write_corpus(work)
        program = [sys.executable, "-m", "tests.data_path", place]
        subprocess.run([*program, "local"], check=True, capture_output=True)
        with TwoHosts(Path(ray)) as hosts:
            hosts.start_ray(1)
            for number, stage in enumerate(islice(cycle(chosen.stages), kills)):
                hosts.start_ray(2)
                log = work / "log"
                with open(log, "w") as stream:
                    begun = time.monotonic()
                    command = hosts.command(1, *program, "ray", stage)
                    with subprocess.Popen(command, env=hosts.environment, stdout=stream, stderr=stream) as process:
                        hosts.kill_in_a_task(2, 120, 0.2 * (number % 3))
                        killed = time.monotonic() - begun
                        code = process.wait(300)
                same = code == 0 and content_digest(work / "ray" / stage) == content_digest(work / "local" / stage)
                good += same
                told = [line for line in log.read_text().splitlines() if " pieces (" in line]
                print(
                    f"{stage}: killed after {killed:.1f} s, ended after {time.monotonic() - begun:.1f} s, exit {code}, "
                    f"{'same bytes' if same else 'OTHER BYTES'}; {'; '.join(told)}",
                    flush=True,
                )
                if not same:
                    print(log.read_text()[-3000:])
    print(f"{good} of {kills} runs gave the same bytes")
    sys.exit(good < kills)


if __name__ == "__main__":
    main()
