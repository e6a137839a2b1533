"""Every stage of every dvc.yaml lists exactly the params and the data that its verb reads.

Each verb of the default graph and of those below `experiments/` runs once on a tiny corpus, its reads are recorded
(`tests/stage_recorder`), and compared with what DVC makes of the dvc.yaml. Not compared: `launch` and `network`, which
only say where and how work runs; the scratch folder; the registry; of the code that a stage lists only that its verb
imports it.
"""

import itertools
import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_core.params import validate
from llm_core.params.external import external_inputs
from llm_core.retrieval.encoders import packaged_model
from llm_core.runtime.outputs import MARK
from pipelines.dvc_project import DvcProject
from pipelines.graph import Stage
from tests.test_graph import TINY, environment
from tests.warm import start

pytestmark = pytest.mark.timeout(1800)  # the first test waits for the verbs of every stage
ROOT = Path(__file__).parents[1]
RECORDER = Path(__file__).parent / "stage_recorder"
HEAVY = "torch,transformers,mlflow"
FREE = ("launch", "network")  # params that only say where and how work runs
NAMES = {"clean", "split"}  # stages that read the sources' names only to refuse a name that is none
STANDS_FOR = {"data/evaluation": ["data/models"]}  # about.json holds the digest of the model's folder
CHECKED = {"laws": ("data/tokens", "data/tokenizer")}  # options that its verb does not use, and checks as paths
FINETUNING, LINEAGE, RETRIEVAL, SCALING = (
    f"experiments/{name}/dvc.yaml" for name in ("finetuning", "lineage", "retrieval", "scaling")
)
ENCODER = "data/encoder"  # the packaged encoder, as a folder that params name
RUNGS = [f"rung{number}" for number in range(6)]  # the laws need six
EXPERIMENTS: dict[str, Any] = {
    "finetuning.on_demand": {
        "again": {
            "method": "instruction",
            "parent": "base",
            "data": {"path": "data/split", "maximum_rows": 60},
            "max_steps": 2,
            "max_length": 128,
            "evaluations": 1,
            "scored_items": 4,
        }
    },
    "finetuning.retrieval.reader.max_steps": 2,
    "finetuning.retrieval.reader.max_length": 128,
    "finetuning.retrieval.reader.evaluations": 1,
    "finetuning.retrieval.contrastive.max_steps": 2,
    "finetuning.retrieval.contrastive.max_length": 128,
    "finetuning.retrieval.contrastive.evaluations": 1,
    "retrieval": {
        "encoder": ENCODER,
        "passage_words": 200,
        "prompt_tokens": 100,
        "answer_tokens": 4,
        "pairs": 40,
        "questions": {"mine": {"path": "data/finetuning/instruction/test.jsonl", "model": "instruction"}},
    },
    "scaling.rungs": {name: {"tokens": 1024} for name in RUNGS},
    "scaling.pretraining.batch_tokens": 512,
    "scaling.pretraining.micro_batch": 2,
    "scaling.pretraining.sequence_length": 128,
    "scaling.pretraining.evaluate_tokens_final": 500,
    "scaling.bootstrap": 10,
    "word2vec.dimensions": 8,
    "word2vec.epochs": 1,
    "word2vec.min_count": 1,
    "word2vec.neighbours_of": ["the"],
}


@dataclass(frozen=True)
class Reads:
    """What a verb read: params by dotted path, paths below the project, modules of llm_core."""

    params: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    """Files opened and folders listed."""
    looks: set[str] = field(default_factory=set)
    """Paths that the verb asked the existence of."""
    code: set[str] = field(default_factory=set)


def parse(file: Path) -> Reads:
    """The reads of a recording."""
    found = Reads()
    kinds = {"param": found.params, "file": found.files, "folder": found.files, "look": found.looks, "code": found.code}
    for line in sorted(set(file.read_text().splitlines())):
        kind, _, what = line.partition("\t")
        kinds[kind].add(what)
    return found


def below(path: str, parent: str, separator: str = "/") -> bool:
    """Whether a path (or a dotted key) is `parent` or lies in it."""
    return path == parent or path.startswith(parent + separator)


def drifts(stage: Stage, reads: Reads, external: dict[str, list[str]], others: Iterable[Stage]) -> Iterator[str]:
    """Where a stage and the reads of its verb differ, one line each.

    `external`: local files that the params name, by the file below data/inputs that has their digests. `others`
    are the other stages of the graph.
    """
    foreign = {out.path for other in others for out in other.outs}
    for read in sorted(reads.params):
        names_alone = read == "sources.*" and stage.group in NAMES
        if not names_alone and not any(below(read, listed, ".") for listed in (*stage.params, *FREE)):
            yield f"reads the param {read}, which is not listed"
    for listed in stage.params:
        used = any(below(read, listed, ".") or below(listed, read, ".") for read in reads.params)
        if not used:
            yield f"lists the param {listed}, which is never read"
    data = [dep for dep in stage.deps if not dep.startswith("llm_core/")]
    known = [*data, *(out.path for out in stage.outs)]
    known += [path for name, paths in external.items() if f"data/inputs/{name}.json" in data for path in paths]
    known += [path for dep in data for path in STANDS_FOR.get(dep, [])]
    folders = {str(parent) for path in known for parent in Path(path).parents}  # what is read in them counts by itself
    for read in sorted(reads.files | reads.looks):
        if (
            _data(read)
            and read not in folders
            and read not in CHECKED.get(stage.group, ())
            and not any(below(read, path) for path in known)
            and (any(below(read, path) for path in foreign) or not _made(read, stage))
        ):
            yield f"reads {read}, which is no dep"
    for dep in data:
        if not dep.startswith("data/inputs/") and not any(below(read, dep) for read in reads.files):
            yield f"lists the dep {dep}, which is never read"
    for dep in set(stage.deps) - set(data):
        name = dep.removesuffix(".py").replace("/", ".")
        if not any(below(module, name, ".") for module in reads.code):
            yield f"lists the code {dep}, which is never imported"
    for dep in {dep for dep in stage.deps if stage.deps.count(dep) > 1}:
        yield f"lists the dep {dep} twice"


def _made(path: str, stage: Stage) -> bool:
    """Whether a path lies in what the verb's `--out` or `--out-file` names, or in a folder beside that."""
    words = shlex.split(stage.cmd)
    out = next(Path(value) for name, value in itertools.pairwise(words) if name in ("--out", "--out-file"))
    return below(path, str(out)) or path.startswith((f"{out.parent}/.{out.name}.", f"{out}."))


def _data(path: str) -> bool:
    """Whether a path is data. A bare name comes from a call relative to an open folder; a mark only lists files."""
    return (path.startswith(("data/", "corpus/")) or path == "takedowns.jsonl") and Path(path).name != MARK


def corpus(file: Path) -> None:
    """Documents of countries as the Factbook's reader makes them, of invented content."""
    draw = random.Random(1)
    words = ["".join(draw.choice("bdfgklmnprst") + draw.choice("aeiou") for _ in range(3)) for _ in range(300)]
    rows = []
    for number in range(60):
        name = words[number].title()
        fields = {
            "Capital - name": draw.choice(words).title(),
            "Government type": draw.choice(["republic", "monarchy", "federation"]),
            "Coastline": f"{draw.randrange(10, 9000)} km",
            "Legal system": f"{draw.choice(words)} law",
            "Suffrage": f"{draw.choice([16, 18, 21])} years of age",
        }
        text = " ".join(
            f"The {draw.choice(words)} of {name} is in the {draw.choice(words)}, and it has a {draw.choice(words)} "
            f"that the people have with the {draw.choice(words)} of the {draw.choice(words)}."
            for _ in range(12)
        )
        metadata = {"country": name, "section": "Geography", "title": name, "fields": fields}
        rows.append({"id": f"c{number}", "text": text, "metadata": metadata})
    file.parent.mkdir()
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def project(folder: Path) -> Path:
    """A project of every dvc.yaml and a tiny corpus, under DVC."""
    corpus(folder / "corpus/countries.jsonl")
    experiments = [file.relative_to(ROOT) for file in ROOT.glob("experiments/*/dvc.yaml")]
    for name in ("dvc.yaml", "takedowns.jsonl", *experiments):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text((ROOT / name).read_text())
    (folder / "data").mkdir()
    (folder / ENCODER).symlink_to(packaged_model())
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["sources"] = {"factbook": {"kind": "files", "paths": ["corpus"], "license": "public-domain"}}
    params["launch"] = {"cleaning": {"workers": 1}}
    tiny = {**TINY, "pretraining.steps": 2, "finetuning.runs.instruction.max_steps": 2, "evaluation.limit": 2}
    tiny |= {"evaluation.tasks": ["arc_easy"], "evaluation.language_modelling.ngram": {"order": 2}, **EXPERIMENTS}
    for key, value in tiny.items():
        section = params
        *parents, last = key.split(".")
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True, env=environment(folder))
    return folder


def record(folder: Path, stage: Stage, file: Path) -> None:
    """Run a stage's verb in `folder`; its reads go to `file`. The verbs of the data half run without torch and such."""
    verb, *arguments = shlex.split(stage.cmd)[1:]
    variables = environment(folder) | {
        "PYTHONPATH": os.pathsep.join([str(RECORDER), str(ROOT)]),
        "STAGE_RECORD": str(file),
        "STAGE_PROJECT": str(folder),
    }
    if verb in start.DATA:
        variables["STAGE_BLOCK"] = HEAVY
    command = [start.python(), "-m", "llm_core.cli", verb, *arguments]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, f"{stage.cmd}: {done.stdout[-1000:]}{done.stderr[-3000:]}"


def larger_rung(folder: Path, name: str) -> None:
    """Figures of a larger rung than the first, computed from those of the first: the laws are fitted to them."""
    figures, factor = json.loads((folder / f"{RUNGS[0]}.json").read_text()), 1 + RUNGS.index(name)
    figures |= {key: figures[key] * factor for key in ("parameters", "tokens", "embedding_parameters")}
    figures["heldout_bits_per_byte"] *= factor**-0.1
    (folder / f"{name}.json").write_text(json.dumps(figures))


@dataclass(frozen=True)
class Recorded:
    """The stages of the graph by name, the reads of each, and the local files that the params name."""

    stages: dict[str, Stage]
    reads: dict[str, Reads]
    external: dict[str, list[str]]

    def drifts(self, name: str, change: Callable[[Stage], Stage] = lambda stage: stage) -> list[str]:
        """Drifts of a stage, or of what `change` makes of it."""
        others = [stage for stage in self.stages.values() if stage.name != name]
        return list(drifts(change(self.stages[name]), self.reads[name], self.external, others))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Every verb of the graph run once, in the graph's order; of the scaling ladder's rungs the first alone."""
    folder = project(tmp_path_factory.mktemp("truth")).resolve()
    kept = tmp_path_factory.mktemp("reads")
    with DvcProject(folder) as dvc:
        stages, order = dvc.stages, list(dvc.order())
    reads = {}
    for number, name in enumerate(order):
        rung = stages[name].plain_name.removeprefix("rung@")
        if rung in RUNGS[1:]:
            larger_rung(folder / "data/scaling/runs", rung)
            continue
        record(folder, stages[name], kept / str(number))
        reads[name] = parse(kept / str(number))
    stages = {name: stages[name] for name in reads}
    with chdir(folder):  # local inputs are found by their relative paths
        external = external_inputs(validate(yaml.safe_load(Path("params.yaml").read_text()), "params.yaml"))
    return Recorded(stages, reads, external)


@pytest.mark.slow
def test_every_stage_lists_what_its_verb_reads(recorded: Recorded) -> None:
    found = {name: recorded.drifts(name) for name in recorded.stages if name != "inputs"}  # which always runs
    assert not any(found.values()), "\n".join(f"{name} {line}" for name, lines in found.items() for line in lines)


def unlist(what: str) -> Callable[[Stage], Stage]:
    """A change that drops a param or a dep from a stage."""

    def change(stage: Stage) -> Stage:
        assert what in (*stage.params, *stage.deps), f"{stage.name} does not list {what}"
        return replace(
            stage,
            params=tuple(param for param in stage.params if param != what),
            deps=tuple(dep for dep in stage.deps if dep != what),
        )

    return change


def add_param(what: str) -> Callable[[Stage], Stage]:
    """A change that lists a param more."""
    return lambda stage: replace(stage, params=(*stage.params, what))


def add_dep(what: str) -> Callable[[Stage], Stage]:
    """A change that lists a dep more."""
    return lambda stage: replace(stage, deps=(*stage.deps, what))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "line"),
    [
        ("dedup", unlist("seed"), "reads the param seed, which is not listed"),
        ("dedup", unlist("sources"), "reads the param sources.*, which is not listed"),
        ("dedup", unlist("takedowns.jsonl"), "reads takedowns.jsonl, which is no dep"),
        (
            "download@factbook",
            unlist("data/inputs/sources/factbook.json"),
            "reads corpus/countries.jsonl, which is no dep",
        ),
        ("clean@factbook", unlist("cleaning"), "reads the param cleaning.steps, which is not listed"),
        ("split", add_param("deduplication"), "lists the param deduplication, which is never read"),
        ("split", unlist("data/decontaminated/documents"), "reads data/decontaminated/documents, which is no dep"),
        ("tokenizer", add_dep("data/split/heldout"), "lists the dep data/split/heldout, which is never read"),
        ("pretrain", unlist("model"), "reads the param model, which is not listed"),
        ("pretrain", unlist("data/tokens"), "reads data/tokens/train, which is no dep"),
        ("pretrain", add_dep("data/split/train"), "lists the dep data/split/train, which is never read"),
        (
            "evaluate-run@instruction",
            unlist("evaluation.prompts"),
            "reads the param evaluation.prompts, which is not listed",
        ),
        (
            "evaluate-run@instruction",
            unlist("evaluation.add_bos_token"),
            "reads the param evaluation.add_bos_token, which is not listed",
        ),
        ("evaluate-run@instruction", add_dep("data/benchmarks"), "lists the dep data/benchmarks twice"),
        ("report", unlist("sources"), "reads the param sources.factbook.license, which is not listed"),
        ("report", unlist("data/clean"), "reads data/clean/factbook/metrics.json, which is no dep"),
        ("report", add_dep("llm_core/serving"), "lists the code llm_core/serving, which is never imported"),
        ("promote@base", add_param("evaluation.gate"), "lists the param evaluation.gate, which is never read"),
        (f"{FINETUNING}:finetune@again", unlist("seed"), "reads the param seed, which is not listed"),
        (f"{LINEAGE}:cards", add_param("split"), "lists the param split, which is never read"),
        (
            f"{RETRIEVAL}:index",
            unlist("data/inputs/retrieval.json"),
            "reads data/encoder/model.safetensors, which is no dep",
        ),
        (
            f"{RETRIEVAL}:evaluate-tuned",
            unlist("data/models/encoder"),
            "reads data/models/encoder/model.safetensors, which is no dep",
        ),
        (f"{SCALING}:laws", unlist("data/scaling/runs"), "reads data/scaling/runs/rung0.json, which is no dep"),
    ],
)
def test_a_drift_put_back_is_found(recorded: Recorded, name: str, change: Callable[[Stage], Stage], line: str) -> None:
    assert line in recorded.drifts(name, change)


@pytest.mark.slow
@pytest.mark.parametrize("package", HEAVY.split(","))
def test_the_verbs_of_data_ran_while_heavy_packages_could_not_be_imported(package: str, tmp_path: Path) -> None:
    """What `record` blocks is really blocked: an import fails in a process that is started as it starts the verbs."""
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(RECORDER), str(ROOT)]), "STAGE_BLOCK": HEAVY}
    command = [sys.executable, "-c", f"import {package}"]
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and f"{package} is blocked here" in done.stderr
