"""The toy project with more to see: a source without a licence, which a blocking check stops, and a run in MLflow."""

from pathlib import Path

from tests.pipelines import toy_project as toy

STAGES = """\
  download:
    desc: A crawl whose documents name no licence
    cmd: python code/crawl.py data/crawl
    deps: [code/crawl.py]
    outs: [data/crawl]
  clean:
    desc: Never runs while the check above fails
    cmd: cp -r data/crawl data/cleaned
    deps: [data/crawl]
    outs: [data/cleaned]
  pretrain:
    desc: A training of no consequence, recorded in MLflow
    cmd: python code/train.py data/model
    params: [title]
    deps: [code/train.py]
    outs: [data/model]
"""
CRAWL = """\
import json, sys
from pathlib import Path
from llm_core.formats.documents import DocumentWriter
from llm_core.formats.ledger import LedgerWriter
out = Path(sys.argv[1])
with DocumentWriter(out / "documents") as writer:
    writer.write_rows([{"id": str(i), "source": "web", "text": "some words"} for i in range(7)])
with LedgerWriter(out / "ledger", "download") as ledger:
    ledger.record([{"id": str(i), "source": "web", "verdict": "kept", "bytes": 10} for i in range(7)])
(out / "metrics.json").write_text(json.dumps({"documents_kept": 7, "dropped_by_reason": {"too_short": 3, "adult": 1}}))
"""
TRAIN = """\
import json, math, sys
from pathlib import Path
import yaml
from llm_core.tracking import runs as tracking
out = Path(sys.argv[1])
out.mkdir(parents=True)
losses = [8 * math.exp(-step / 30) + 2 for step in range(100)]
settings = {"steps": 100, "title": yaml.safe_load(open("params.yaml"))["title"]}
with tracking.run("pretrain", settings) as run:
    for step, loss in enumerate(losses):
        run.metrics({"loss": loss}, step)
rows = [json.dumps({"step": step, "loss": loss}) for step, loss in enumerate(losses)]
(out / "training_log.jsonl").write_text("\\n".join(rows))
(out / "metrics.json").write_text(json.dumps({"loss": losses[-1]}))
(out / "training_data.json").write_text(json.dumps({"tokens_digest": "no tokens"}))
"""


def extend(folder: Path) -> Path:
    """Add the stages to a toy project, and make its slow stage slow."""
    with open(folder / "dvc.yaml", "a") as stream:
        stream.write(STAGES)
    (folder / "code" / "crawl.py").write_text(CRAWL)
    (folder / "code" / "train.py").write_text(TRAIN)
    toy.edit(folder, "params.yaml", "steps: 0", "steps: 1000")
    toy.commit(folder)
    return folder
