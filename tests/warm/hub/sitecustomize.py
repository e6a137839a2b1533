"""On the path of programs that start warm and are given `HF_ENDPOINT` or other variables of the hub's libraries.

These read them once, at import, which is before such a program has its environment. In a program that starts cold this
does nothing.
"""

import importlib
import sys

for name in ("huggingface_hub.constants", "datasets.config"):
    if name in sys.modules:
        importlib.reload(sys.modules[name])
if "huggingface_hub.hf_api" in sys.modules:
    sys.modules["huggingface_hub.hf_api"].api.endpoint = sys.modules["huggingface_hub.constants"].ENDPOINT
