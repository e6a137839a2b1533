"""datatrove's four-stage MinHash over a folder of JSONL; run by the python of an environment that has datatrove.

    python benchmarks/deduplication_peer.py FOLDER_WITH_JSONL WORK

Prints CPU seconds of this process and its children; what it keeps is in WORK/kept.
"""

import resource
import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig

if __name__ == "__main__":
    source, work = sys.argv[1], Path(sys.argv[2])
    config = MinhashConfig(hash_config=HashConfig(precision=64), n_grams=5, num_buckets=14, hashes_per_bucket=8)
    steps = [
        [JsonlReader(source), MinhashDedupSignature(f"{work}/signatures", config=config)],
        [MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)],
        [MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config)],
        [JsonlReader(source), MinhashDedupFilter(f"{work}/remove"), JsonlWriter(f"{work}/kept", compression=None)],
    ]
    for number, steps_of_stage in enumerate(steps):
        tasks = 14 if number == 1 else 1
        LocalPipelineExecutor(steps_of_stage, tasks=tasks, workers=1, logging_dir=f"{work}/logs/{number}").run()
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print("cpu_seconds", sum(one.ru_utime + one.ru_stime for one in usage))
