"""python -m tests.chaos [--seconds N] [--seed N] [--tls]

Serves under load while a script of random events goes on, and prints what became of it. The exit
status is 1 if the server did anything wrong. A seed decides the script, but not how the processes
run beside each other: a failed run may pass when it is repeated.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from random import randrange

from .run import Run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long (default 60)")
    parser.add_argument("--seed", type=int, default=randrange(10**6), help="of the script")
    parser.add_argument("--tls", action="store_true", help="with TLS, and the log in a file")
    parser.add_argument("--keep", metavar="FOLDER", help="a new folder for logs, which is kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(given.keep or folder)
        place.mkdir(exist_ok=True)
        run = Run(place, given.seconds, given.seed, given.tls)
        run.go()
        print(run.report())
    return bool(run.faults)


if __name__ == "__main__":
    sys.exit(main())
