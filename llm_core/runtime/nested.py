"""Nested mappings on one level, as MLflow, DVC and Dagster show them."""

from collections.abc import Mapping
from typing import Any


def flatten(values: Any, prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """A nested mapping, or a section of params, on one level: keys joined by `separator`, values as they are.

    >>> flatten({"a": {"b": 1, "c": [2]}, "d": None})
    {'a.b': 1, 'a.c': [2], 'd': None}
    """
    flat: dict[str, Any] = {}
    for key, value in (values if isinstance(values, Mapping) else values.model_dump()).items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}{separator}", separator)
        else:
            flat[f"{prefix}{key}"] = value
    return flat
