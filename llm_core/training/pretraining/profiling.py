"""A profiler window on request: `pretraining.profile_steps: [11, 13]` records those steps.

It writes to `.scratch/profiles`, which is kept after the run, a Chrome trace (open it at
ui.perfetto.dev) and a table of the operators that took most time.
"""

from pathlib import Path
from typing import Any

import torch

from llm_core.errors import UserError
from llm_core.runtime import progress


class ProfilerWindow:
    """Records steps `first` to `last` (counted from 1) of one process into `folder`; None records nothing."""

    def __init__(self, steps: tuple[int, int] | None, folder: Path, rank: int) -> None:
        if steps and not 1 <= steps[0] <= steps[1]:
            raise UserError(f"pretraining.profile_steps {list(steps)}: write [first, last], counted from 1")
        self.steps, self.file = steps, folder / f"rank{rank}.json"
        self._profiler: Any = None

    def before(self, step: int) -> None:
        """Start recording if step number `step` begins the window."""
        if self.steps and step == self.steps[0]:
            activities = [torch.profiler.ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(torch.profiler.ProfilerActivity.CUDA)
            self._profiler = torch.profiler.profile(activities=activities, with_flops=True, profile_memory=True)
            self._profiler.start()

    def after(self, step: int, last: int) -> None:
        """Stop and write if `step` ends the window, or the run (`last`)."""
        if self._profiler is None or self.steps is None or step < min(self.steps[1], last):
            return
        self._profiler.stop()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._profiler.export_chrome_trace(str(self.file))
        sort = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = self._profiler.key_averages().table(sort_by=sort, row_limit=25, max_name_column_width=60)
        self.file.with_suffix(".txt").write_text(table)
        progress.log(
            f"profile of steps {self.steps[0]} to {step}: {self.file} and {self.file.with_suffix('.txt').name}"
        )
        self._profiler = None
