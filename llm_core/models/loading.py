"""The one place that loads a model and its tokenizer for use: families, heads, adapters, dtype, device.

`load` reads a local folder in the Hugging Face layout. It never asks the network, never runs code that a model folder
brings along unless `trust_remote_code` is given, and checks before it reads any weight that the folder holds the kind
of model that is needed: a classifier does not continue text, and a language model has no labels. A checkpoint that
lacks weights is refused, because the library would fill them with random numbers.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from llm_core.errors import UserError
from llm_core.models.configs import ADAPTER, first_line, model_folder, read_config
from llm_core.models.family import Kind, kind_of, register

Purpose = Literal["language", "classification", "choices", "reward", "tagging", "answering", "encoder"]
DTYPES = ("float32", "bfloat16", "float16", "auto")
NUMBERED_BEHIND_PADDING = ("roberta", "xlm-roberta", "camembert")  # the first position is the padding id + 1
HEADS = ("TokenClassification", "QuestionAnswering", "MultipleChoice")
NEEDED: dict[Purpose, str] = {
    "language": "a language model is needed here",
    "classification": "a classifier is needed here; `llm-core finetune classification` makes one",
    "choices": "a model that chooses an answer is needed here; `llm-core finetune multiple_choice` makes one",
    "reward": "a reward model is needed here; `llm-core finetune reward` makes one",
    "tagging": "a tagger is needed here; `llm-core finetune token_classification` makes one",
    "answering": "a model that marks answers is needed here; `llm-core finetune question_answering` makes one",
    "encoder": "a model that encodes text is needed here",
}


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode with its tokenizer, and where it computes."""

    network: Any
    tokenizer: Any
    device: torch.device
    kind: Kind

    @classmethod
    def of(cls, network: Any, tokenizer: Any) -> "LoadedModel":
        """A network that is in memory already, on the device on which it is."""
        return cls(network, tokenizer, device_of(network), kind_of(network.config))

    @property
    def context(self) -> int | None:
        """Maximum number of tokens that the network has positions for; None where it has no such limit."""
        return context_of(self.network.config)


def load(
    folder: str | Path,
    purpose: Purpose = "language",
    *,
    kinds: tuple[Kind, ...] = get_args(Kind),
    dtype: str = "float32",
    device: str | torch.device | None = None,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """The model in `folder` and its tokenizer, on `device` (default: a GPU where there is one, else the CPU).

    `kinds` are the kinds of network that the caller can use. Raises UserError, in one line, where the folder holds no
    model, no tokenizer, a model for another purpose or of another kind, or files that cannot be read.
    """
    tokenizer = load_tokenizer(folder, trust_remote_code)
    network = load_network(
        folder, purpose, kinds=kinds, dtype=dtype, device=device, trust_remote_code=trust_remote_code
    )
    return LoadedModel.of(network, tokenizer)


def load_network(
    folder: str | Path,
    purpose: Purpose = "language",
    *,
    kinds: tuple[Kind, ...] = get_args(Kind),
    dtype: str = "float32",
    device: str | torch.device | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """The network alone, as `load` gives it: in evaluation mode, on its device, without gradients of a head."""
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype}: choose one of {', '.join(DTYPES)}")
    place = choose_device(device)
    if (Path(folder) / ADAPTER).is_file():
        return _with_adapter(Path(folder), purpose, kinds, dtype, place, trust_remote_code)
    config = read_config(folder, trust_remote_code)
    check_purpose(folder, config, purpose, kinds)
    network = read_network(_auto_class(config, purpose), folder, config, dtype, trust_remote_code)
    if purpose == "encoder" and getattr(network, "pooler", None) is not None:
        network.pooler = None  # a masked model's checkpoint lacks BERT's pooler; a mean over tokens does not use it
    return network.to(place).eval()


def untrained(folder: str | Path, seed: int) -> Any:
    """A causal network of the folder's config with random weights drawn from `seed`, on the default device."""
    import transformers

    config = read_config(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.AutoModelForCausalLM.from_config(config).to(choose_device()).eval()


def load_tokenizer(folder: str | Path, trust_remote_code: bool = False) -> Any:
    """The tokenizer in `folder`, as it was saved. Raises UserError where there is none."""
    from transformers import AutoTokenizer

    register()  # it reads the model's config, too, and warns of a type that it does not know
    path = model_folder(folder)
    if (path / ADAPTER).is_file() and not (path / "tokenizer_config.json").is_file():
        path = _adapter_base(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:  # the library raises whatever the broken file makes its parser raise
        raise UserError(f"{folder}: holds no tokenizer that can be read ({first_line(error)})") from None
    # The library's warning of texts that are longer than a model reads; here whoever gives them to one checks it.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return tokenizer


def context_of(config: Any) -> int | None:
    """Maximum number of tokens that a network of this config has positions for; None where it has no limit."""
    sizes = config.get_text_config(decoder=True)
    positions = getattr(sizes, "max_position_embeddings", None)
    if isinstance(positions, int) and sizes.model_type in NUMBERED_BEHIND_PADDING:
        positions -= (sizes.pad_token_id or 0) + 1
    return int(positions) if isinstance(positions, int) and positions > 0 else None


def choose_device(asked: str | torch.device | None = None) -> torch.device:
    """The device that was asked for; else this process's GPU where there is one, else the CPU.

    Of several training processes of a machine each has the GPU of its local rank. UserError for one that is absent.
    """
    if asked is None or asked == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise UserError(f"--device {asked}: no such device; write cpu, cuda, cuda:0 or auto") from None
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        raise UserError(f"--device {asked}: this machine has {count} CUDA devices; write cpu or auto")
    return device


def device_of(network: Any) -> torch.device:
    """The device of a network's first weight, on which its inputs must be."""
    device: torch.device = next(network.parameters()).device
    return device


def check_purpose(folder: str | Path, config: Any, purpose: Purpose, kinds: tuple[Kind, ...] = get_args(Kind)) -> None:
    """Raise UserError where the config's architecture is not for `purpose`, or not of one of `kinds`."""
    found, kind = (getattr(config, "architectures", None) or [config.model_type])[0], kind_of(config)
    labels = int(getattr(config, "num_labels", 0)) if "SequenceClassification" in found else 0
    task = getattr(config, "finetuned_for", None)  # a head of one number may be a score as well as a reward
    one = f"{found}, a model of {task}" if task else f"{found}, a reward model"
    verbs = _verbs(found, kind, labels, bool(task))
    described = {0: found, 1: one}.get(labels, f"{found}, a classifier of {labels} labels")
    fits = {
        "language": labels == 0 and not found.endswith(HEADS),
        "classification": labels > 1 or (labels == 1 and bool(task)),
        "choices": found.endswith("MultipleChoice"),
        "reward": labels == 1 and not task,
        "tagging": found.endswith("TokenClassification"),
        "answering": found.endswith("QuestionAnswering"),
        "encoder": True,
    }[purpose]
    if purpose == "language" and kind == "encoder":
        raise UserError(
            f"{folder}: holds {described}, an encoder, which does not continue text; {NEEDED[purpose]}{verbs}"
        )
    if not fits:
        raise UserError(f"{folder}: holds {described}; {NEEDED[purpose]}{verbs}")
    if kind not in kinds:
        raise UserError(f"{folder}: holds {described}, an {kind}; this needs {' or '.join(kinds)}{verbs}")


def _verbs(architecture: str, kind: Kind, labels: int, task: bool) -> str:
    """What can be done with a model, for the end of a message; nothing of a head that only its method knows."""
    if labels > 1 or (labels == 1 and task):
        use = "`llm-core classify` uses it"
    elif labels == 1:
        use = "`llm-core finetune rlhf` uses it, as its reward"
    elif architecture.endswith(HEADS):
        return ""
    elif kind == "encoder":
        use = (
            "`llm-core finetune` trains it (classification, contrastive) and `llm-core index` encodes passages with it"
        )
    else:
        use = "`llm-core generate`, `chat`, `serve` and `finetune` take it"
    return f" ({use})"


def _auto_class(config: Any, purpose: Purpose) -> Any:
    import transformers

    if purpose == "encoder":
        return transformers.AutoModel
    if purpose == "tagging":
        return transformers.AutoModelForTokenClassification
    if purpose == "answering":
        return transformers.AutoModelForQuestionAnswering
    if purpose == "choices":
        return transformers.AutoModelForMultipleChoice
    if purpose in ("classification", "reward"):
        return transformers.AutoModelForSequenceClassification
    if kind_of(config) == "encoder-decoder":
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForCausalLM


def read_network(
    cls: Any,
    folder: str | Path,
    config: Any,
    dtype: str,
    trust_remote_code: bool = False,
    fresh_head: bool = False,
    **options: Any,
) -> Any:
    """`cls.from_pretrained`, quietly, with every way in which it fails as one line.

    A checkpoint may lack a pooler and, with `fresh_head`, the layers on top of the base network; these start random.
    """
    import transformers
    from transformers.utils import logging

    own, general = _prefix(cls, config), _prefix(transformers.AutoModel, config)
    renamed = bool(own and general and own != general)
    if renamed:  # LLaMA's class for question answering names the network `transformer`, LLaMA's checkpoints `model`
        options["key_mapping"] = {rf"^{general}\.": f"{own}."}
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the report of weights that are missing becomes an error below
    logging.disable_progress_bar()
    try:
        network, about = cls.from_pretrained(
            model_folder(folder), config=config, dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            local_files_only=True, trust_remote_code=trust_remote_code, output_loading_info=True,
            ignore_mismatched_sizes=True, **options,
        )  # fmt: skip
    except MemoryError:
        raise
    except Exception as error:  # SafetensorError, OSError, RuntimeError, ValueError, KeyError: by the file
        raise UserError(f"{folder}: the model cannot be loaded ({first_line(error)})") from None
    finally:
        logging.set_verbosity(verbosity)
    if renamed:
        network._weight_conversions = None  # else it is saved with names that the class does not read
    if wrong := min(about["mismatched_keys"], default=None):
        name, stored, needed = wrong
        why = " (its head is for other labels)" if fresh_head else ""
        raise UserError(f"{folder}: the weights {name} have the sizes {[*stored]}, and {[*needed]} are needed{why}")
    missing = [name for name in sorted(about["missing_keys"]) if "pooler" not in name]
    if fresh_head:
        missing = [name for name in missing if name.startswith(f"{network.base_model_prefix}.")]
    if missing:
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise UserError(f"{folder}: its checkpoint lacks weights of a {type(network).__name__} ({some})")
    return network


def _prefix(auto: Any, config: Any) -> str:
    """The name of the base network in the class that transformers' `auto` class makes of `config`; "" for others."""
    if not hasattr(auto, "_model_mapping"):
        return ""
    return str(getattr(auto._model_mapping.get(type(config), None), "base_model_prefix", ""))


def _with_adapter(
    folder: Path, purpose: Purpose, kinds: tuple[Kind, ...], dtype: str, device: torch.device, trust_remote_code: bool
) -> Any:
    """The base model that the adapter in `folder` was trained on, with the adapter's update added to its weights."""
    from peft import PeftModel

    base = _adapter_base(folder)
    network = load_network(base, purpose, kinds=kinds, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    try:
        return PeftModel.from_pretrained(network, folder).merge_and_unload().to(device).eval()
    except Exception as error:
        raise UserError(f"{folder}: the adapter does not fit its base {base} ({first_line(error)})") from None


def _adapter_base(folder: Path) -> Path:
    try:
        name = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / ADAPTER}: cannot be read ({first_line(error)})") from None
    near = folder / str(name)
    return model_folder(near if near.is_dir() else str(name))
