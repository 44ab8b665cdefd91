"""Has Celery's worker do COUNT jobs and prints how many seconds that took.

python -m benchmarks.programs.job_load COUNT
"""

import sys
import time

from celery import group
from jobs import wait

count = int(sys.argv[1])
begun = time.perf_counter()
results = group(wait.s(number, 0.0) for number in range(count)).apply_async().get(timeout=60)
assert results == list(range(count))
print(time.perf_counter() - begun)
