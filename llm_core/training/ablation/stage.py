"""`ablate`: build the arms, train each with several seeds, and decide whether the difference is significant.

The mixture is held fixed: in each arm every source has the share of the tokens that it has in the
control's training data, and the runs see the same number of tokens (`mix`, exact within half a document a
source), encoded by the same tokenizer and measured on the same held-out texts. Where an arm has too little of
a source it is repeated, and the page says how often. Trainings are runs of the pretraining verb; of each only its
figures are kept (`runs/ARM-SEED.json`, llm_core/training/pretraining/figures.py).
"""

import tempfile
from pathlib import Path
from typing import Any

from llm_core.corpus.mix.stage import mix
from llm_core.errors import UserError
from llm_core.formats.pages import Block, to_html, to_markdown
from llm_core.params import Params
from llm_core.params.launch import PieceLaunch
from llm_core.params.mix import Mix
from llm_core.runtime import progress
from llm_core.runtime.storage import write_json
from llm_core.tokenization.stage import tokenize
from llm_core.training.ablation import arms, verdict
from llm_core.training.pretraining.figures import LOSS, settings_of, train


def ablate(
    params: Params, changed: Params, changes: list[str], project: arms.Project, tokenizer: Path, out: Path
) -> list[Block]:
    """Run the whole ablation into `out` (runs/, ablation.json, ablation.md, ablation.html); returns the page's blocks.

    Raises UserError: a change outside the data recipe, no finished data, a training that fails.
    """
    arms.check_change(changes)
    control = project.split / "train"
    if not control.is_dir() or not (tokenizer / "tokenizer.json").is_file():
        raise UserError(f"{control} and {tokenizer}: run the default graph first (dvc repro)")
    settings = settings_of(
        params, params.ablation.tokens, params.launch.ablation,
        ("model", params.ablation.model, "ablation.model"),
        ("pretraining", params.ablation.pretraining, "ablation.pretraining"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="ablation-") as scratch:
        work = Path(scratch)
        with progress.timed("ablation: documents"):
            treated = arms.treatment(project, changed, work / "changed")
            untold = arms.negative(control, treated, work / "negative", params.seed)
        folders = dict(zip(arms.NAMES, (control, treated, untold), strict=True))
        changes_by_arm = {name: arms.moved(control, folders[name]) for name in arms.NAMES[1:]}
        if not any(row[key] for row in changes_by_arm["treatment"] for key in ("removed", "added", "changed")):
            raise UserError(
                f"{', '.join(changes)}: changes no document of the training data, so there is nothing to compare"
            )
        weights = token_shares(project.data / "tokens/train")
        lost = [row["source"] for row in changes_by_arm["treatment"] if row["control"] and not row["arm"]]
        if lost:
            raise UserError(
                f"{', '.join(changes)}: leaves nothing of {', '.join(lost)}, so no mixture can be held fixed"
            )
        figures: dict[str, list[dict[str, Any]]] = {name: [] for name in arms.NAMES}
        mixed: dict[str, dict[str, Any]] = {}
        for name, folder in folders.items():
            split = arms.with_heldout(folder, project.split / "heldout", work / name / "split")
            for number in range(params.ablation.seeds):
                seed = params.seed + number
                place = work / name / str(seed)
                mixing = Mix(weights=weights, total=params.ablation.tokens)
                mixed[name] = mix(split, place / "mix", mixing, seed, tokenizer)["mix"]["by_source"]
                tokenize([place / "mix"], tokenizer, place / "tokens", PieceLaunch(workers=1))
                file = out / "runs" / f"{name}-{seed}.json"
                figures[name].append(train(settings | {"seed": seed}, place / "tokens", tokenizer, file))
    scores = by_metric(figures)
    result = {
        "changes": changes,
        "seeds": [params.seed + number for number in range(params.ablation.seeds)],
        "tokens": figures["control"][0]["tokens"],
        "documents": changes_by_arm,
        "mixture": mixed,
        "scores": scores,
        "results": verdict.rows(scores, params.ablation.confidence),
    }
    write_json(out / "ablation.json", result)
    blocks = page(result, params)
    (out / "ablation.md").write_text(to_markdown(blocks), encoding="utf-8")
    (out / "ablation.html").write_text(to_html(blocks), encoding="utf-8")
    return blocks


def token_shares(tokens: Path) -> dict[str, float]:
    """Each source's share of the control's training tokens."""
    from llm_core.formats.token_shards import TokenShards

    shards = TokenShards(tokens)
    shares: dict[str, float] = {}
    for source, length in zip(shards.column("source"), shards.lengths.tolist(), strict=True):
        shares[str(source)] = shares.get(str(source), 0.0) + length / shards.tokens
    return shares


def by_metric(figures: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """metric -> arm -> one figure per seed: bits per byte over all sources first, then source by source."""
    names = [key for key in figures["control"][0] if key.startswith(LOSS) and "stderr" not in key]
    told = sorted(names, key=lambda key: (key != LOSS, key))
    return {
        key.removeprefix(f"{LOSS}/"): {arm: [float(run[key]) for run in runs] for arm, runs in figures.items()}
        for key in told
        if all(isinstance(run.get(key), int | float) for runs in figures.values() for run in runs)
    }


def page(result: dict[str, Any], params: Params) -> list[Block]:
    """The page of an ablation."""
    first = result["results"][0]
    epochs = [
        {"source": source, **{name: round(result["mixture"][name][source]["epochs"], 2) for name in arms.NAMES}}
        for source in result["mixture"]["control"]
    ]
    shares = [
        {"source": source, **{name: f"{result['mixture'][name][source]['share']:.2%}" for name in arms.NAMES}}
        for source in result["mixture"]["control"]
    ]
    verdict_line = f"Held-out bits per byte of the treatment: {first['verdict']}."
    return [
        Block("title", "Ablation: " + ", ".join(result["changes"])),
        Block("text", verdict_line),
        Block("text", f"{len(result['seeds'])} seeds per arm, {result['tokens']:,} tokens per run; intervals at "
              f"{params.ablation.confidence:.0%} over seeds, paired. Negative differences are better."),
        Block("table", result["results"]),
        Block("note", "The ablation tests the first row only; of the sources' rows one in twenty differs by chance. "
              "The negative control lacks as many bytes (half of a source at most) of the control's documents, drawn."),
        Block("heading", "What the change does to the training documents"),
        Block("table", result["documents"]["treatment"]),
        Block("heading", "What the negative control does"),
        Block("table", result["documents"]["negative"]),
        Block("heading", "The mixture, held fixed: shares of the tokens"),
        Block("table", shares),
        Block("text", "Passes over each source (of the last seed):"),
        Block("table", epochs),
    ]  # fmt: skip
