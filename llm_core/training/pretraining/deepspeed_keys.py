"""Further keys of DeepSpeed's config (`pretraining.deepspeed`), checked by DeepSpeed's own config classes.

ZeRO++, offload to NVMe, communication in another type, profilers: what this project has no knob for is passed on as it
is. DeepSpeed forbids unknown keys in the sections that are pydantic models and ignores them everywhere else, at the top
level too; there a key counts as known when DeepSpeed's reader asks for it.
"""

from collections.abc import Sequence
from typing import Any, get_args

from llm_core.errors import UserError

NAME = "pretraining.deepspeed"
KNOBS = {  # what the project decides -> the knob to set instead
    "train_batch_size": "pretraining.batch_tokens",
    "train_micro_batch_size_per_gpu": "pretraining.micro_batch",
    "gradient_accumulation_steps": "pretraining.batch_tokens and micro_batch",
    "gradient_clipping": "pretraining.optimizer.clip",
    "optimizer": "pretraining.optimizer",
    "scheduler": "pretraining.optimizer.schedule",
    "fp16": "pretraining.precision",
    "bf16": "pretraining.precision",
    "torch_autocast": "pretraining.precision",
    "amp": "pretraining.precision",
    "steps_per_print": "pretraining.log_every",
    "zero_optimization.stage": "pretraining.zero_stage",
    "zero_optimization.offload_optimizer.device": "pretraining.offload",
    "zero_optimization.offload_param.device": "pretraining.offload",
    "zero_optimization.reduce_scatter": "pretraining.optimizer.name or sequence_parallel",
    "zero_allow_untested_optimizer": "",
    "zero_force_ds_cpu_optimizer": "",
}
PREFERENCES = {"zero_optimization.overlap_comm", "zero_optimization.stage3_param_persistence_threshold"}
"""Keys that the project sets to a value of its own that a user may replace."""


def merged(own: dict[str, Any], further: dict[str, Any]) -> dict[str, Any]:
    """The project's config `own` with the `further` keys.

    Raises UserError for a key that the project sets, one that DeepSpeed does not have, and a value that it refuses.
    """
    if not further:
        return own
    whole = _joined(own, further, "")
    _check(whole, further)
    return whole


def _joined(own: dict[str, Any], further: dict[str, Any], place: str) -> dict[str, Any]:
    whole = dict(own)
    for key, value in further.items():
        path = f"{place}{key}"
        section = isinstance(own.get(key), dict) and isinstance(value, dict)
        decided = key in own and not section and path not in PREFERENCES
        always = path in KNOBS and (path.count(".") == 0 or path.endswith(".stage"))
        if decided or always:
            knob = KNOBS.get(path, "")
            raise UserError(
                f"{NAME}.{path}: " + (f"set {knob} instead" if knob else "is decided by this project and cannot be set")
            )
        whole[key] = _joined(own[key], value, f"{path}.") if section else value
    return whole


class _Asked(dict[str, Any]):
    """A config that notes which of its keys are asked for."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__({key: _Asked(one) if isinstance(one, dict) else one for key, one in values.items()})
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


def _check(whole: dict[str, Any], further: dict[str, Any]) -> None:
    from deepspeed.runtime.config import DeepSpeedConfig
    from pydantic import ValidationError

    read = _Asked(whole)
    try:
        DeepSpeedConfig(read)
    except ValidationError as error:
        found = error.errors()[0]
        path = ".".join(map(str, found["loc"]))
        if found["type"] == "extra_forbidden":
            raise _unknown(
                _place(further, str(found["loc"][-1]), path), _fields(error.title, found["loc"][:-1])
            ) from None
        raise UserError(f"{NAME}: {path}: {found['msg']} (DeepSpeed's {error.title})") from None
    except Exception as error:  # its own checks are assertions, ValueErrors and errors of its own
        raise UserError(f"{NAME}: DeepSpeed refuses it ({str(error).splitlines()[0][:200]})") from None
    if wrong := sorted(set(further) - read.asked):
        raise _unknown(wrong[0], read.asked)
    for key, section in read.items():
        if not isinstance(section, _Asked) or key not in further or key == "zero_optimization":
            continue
        if section.asked and (wrong := sorted(set(further[key]) - section.asked)):
            raise _unknown(f"{key}.{wrong[0]}", section.asked)


def _unknown(path: str, known: set[str]) -> UserError:
    return UserError(f"{NAME}.{path}: DeepSpeed has no such key (there are {', '.join(sorted(known))})")


def _fields(title: str, inside: Sequence[int | str]) -> set[str]:
    """The keys of DeepSpeed's config class of that name, or of the class of its field `inside`."""
    from deepspeed.runtime.config_utils import DeepSpeedConfigModel

    classes = [DeepSpeedConfigModel]
    found: Any = None
    while classes and found is None:
        one = classes.pop()
        found = one if one.__name__ == title else None
        classes.extend(one.__subclasses__())
    for name in inside:
        fields = found.model_fields.items() if found else ()
        kinds = [field.annotation for key, field in fields if name in (key, field.alias)]
        found = next((kind for one in kinds for kind in (one, *get_args(one)) if hasattr(kind, "model_fields")), None)
    return {field.alias or key for key, field in found.model_fields.items()} if found else set()


def _place(values: dict[str, Any], key: str, otherwise: str) -> str:
    """Where in `values` the `key` is, with dots."""
    for name, value in values.items():
        if name == key:
            return name
        if isinstance(value, dict) and (found := _place(value, key, "")):
            return f"{name}.{found}"
    return otherwise
