"""Models to train (full weights, low-rank adapters, or adapters on a base in 4 bits) and their export.

The 4-bit base on a CPU needs care. On avx512_bf16 machines bitsandbytes repacks the weights in the
first forward pass without gradients and then uses a kernel without autograd: the gradients of everything below are
wrong without an error (measured: relative error 0.60, and the loss still falls). `support_avx512bf16_for_cpu = False`
on every module that has it, right after loading, keeps the exact path; a test compares gradients.
"""

from pathlib import Path
from typing import Any

import torch

from llm_core.errors import UserError, require_known
from llm_core.models.family import Kind
from llm_core.models.loading import choose_device, read_config, read_network
from llm_core.models.precision import multiplies_bfloat16
from llm_core.params.finetuning import Training
from llm_core.runtime.memory import map_large_blocks
from llm_core.training.finetuning.heads import Head

NF4_WIDTH = 64  # block of NF4: layers' widths must be multiples of it


def load(
    folder: Path, head: Head, kind: Kind, labels: list[str] | None = None, four_bit: bool = False,
    device: torch.device | None = None,
) -> Any:  # fmt: skip
    """A model of `folder` in float32 with `head`, for `labels` or for those that its config states.

    It is on `device`; None leaves it where a trainer takes it from, the CPU, except for weights in 4 bits, which are
    never moved: they are made on this process's own device.
    """
    import transformers

    cls = head.model_class(kind)
    config = read_config(folder, **(head.options(labels) if labels is not None else {}))
    fresh = fresh_layers(folder, cls) if head.fresh else []
    options: dict[str, Any] = {}
    if four_bit:
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.float32,
            llm_int8_skip_modules=fresh or None,  # the name is from the 8-bit days; it holds for 4 bits
        )
        options["device_map"] = {"": device or choose_device()}
        # Each step dequantises each layer for a moment. By default the heap grows around these blocks until a 4-bit
        # model needs more memory than the float32 one (measured).
        map_large_blocks()
    model = read_network(cls, folder, config, "float32", fresh_head=head.fresh, **options)
    model.fresh_layers = fresh
    head.adjust(model)
    if four_bit:
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
        for weight in model.parameters():
            if not hasattr(weight, "quant_state"):
                weight.data = weight.data.clone()  # a view of the mapped checkpoint would keep all of it in memory
    elif device is not None:
        model.to(device)
    return model


def fresh_layers(folder: Path, cls: Any) -> list[str]:
    """Names of the linear layers that `cls` has and the checkpoint in `folder` lacks: a head, BERT's pooler.

    They start random, so they are trained whole, never frozen under an adapter or put into 4 bits. [] where the
    checkpoint is not in safetensors.
    """
    from safetensors import safe_open
    from transformers import AutoConfig
    from transformers.pytorch_utils import Conv1D

    keys: set[str] = set()
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, "pt") as stored:
            keys |= set(stored.keys())
    if not keys:
        return []
    with torch.device("meta"):
        model = cls.from_config(AutoConfig.from_pretrained(folder))
    prefix = f"{model.base_model_prefix}."  # a checkpoint may have been written with or without it
    known = {key.removeprefix(prefix) for key in keys}
    layers = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)]
    return [name for name in layers if f"{name.removeprefix(prefix)}.weight" not in known]


def resolve_precision(params: Training) -> str:
    """float32 or bfloat16: what `params.precision` means on this machine."""
    if params.precision != "auto":
        return params.precision
    return "bfloat16" if multiplies_bfloat16(choose_device()) else "float32"


def choose_adapter(params: Training, config: Any) -> str:
    """The adapter that will run: `params.adapter`, or LoRA in place of QLoRA where 4 bits cannot run and that is
    allowed.
    """
    if params.adapter != "qlora":
        return params.adapter
    reason = None
    try:
        import bitsandbytes  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        reason = f"bitsandbytes does not load here ({str(error).splitlines()[0]})"
    width = getattr(config, "hidden_size", None) or getattr(config, "d_model", None) or getattr(config, "n_embd", None)
    if reason is None and width and width % NF4_WIDTH:
        reason = f"the model's width {width} is no multiple of {NF4_WIDTH}, the block of NF4"
    if reason is None:
        return "qlora"
    if params.qlora_fallback:
        return "lora"
    raise UserError(f"adapter qlora: {reason}; set adapter=lora, or qlora_fallback=true to do so by itself")


def add_adapter(model: Any, params: Training, task: str | None) -> Any:
    """Wrap `model` with trainable low-rank adapters; layers that the checkpoint lacked train whole beside them."""
    from peft import LoraConfig, get_peft_model

    if params.lora.target_modules != "all-linear":
        layers = {name.rpartition(".")[2] for name, layer in model.named_modules() if hasattr(layer, "weight")}
        wanted = (name.rpartition(".")[2] for name in params.lora.target_modules)
        require_known(wanted, layers, "lora.target_modules")
    fresh = getattr(model, "fresh_layers", None)
    config = LoraConfig(
        r=params.lora.rank,
        lora_alpha=params.lora.alpha,
        lora_dropout=params.lora.dropout,
        target_modules=params.lora.target_modules,
        task_type=task,
        modules_to_save=fresh or None,
        exclude_modules=fresh or None,
    )
    return get_peft_model(model, config)


def count_parameters(model: Any) -> tuple[int, int]:
    """(trained, all) parameters; weights in 4 bits count as the weights that they encode."""
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    if hasattr(model, "get_nb_trainable_parameters"):
        return model.get_nb_trainable_parameters()  # type: ignore[no-any-return]
    return trained, sum(weight.numel() for weight in model.parameters())


def merge(base: Any, adapter: Path) -> Any:
    """`base` with the adapter's update added to its weights; a 4-bit base is dequantised first, never re-quantised.

    The result's logits equal those of base + adapter (of the dequantised base, for QLoRA).
    """
    from peft import PeftModel

    if getattr(base, "is_loaded_in_4bit", False):
        base = dequantized(base)
    return PeftModel.from_pretrained(base, adapter).merge_and_unload()


def dequantized(base: Any) -> Any:
    """A 4-bit model as the float32 model that it computes with, with the layer classes of its family."""
    from transformers.pytorch_utils import Conv1D

    turned = [name for name, module in base.named_modules() if getattr(module, "source_cls", None) is Conv1D]
    base = base.dequantize()
    for name in turned:  # GPT-2's Conv1D has its weight transposed, and transformers leaves a Linear
        linear = base.get_submodule(name)
        layer = Conv1D(linear.out_features, linear.in_features)
        layer.weight = torch.nn.Parameter(linear.weight.detach().T.contiguous())
        layer.bias = linear.bias
        base.set_submodule(name, layer)
    return base
