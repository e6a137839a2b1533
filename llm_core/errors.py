"""The one exception that a user is meant to read, and the check that a name means something."""

import difflib
from collections.abc import Iterable

SHOWN_NAMES = 20


class UserError(Exception):
    """Something that the person at the keyboard can mend.

    The message is one line: what was wrong, where (file, line, record), what to do.
    The command line prints it without a traceback and exits with 1.
    """


def require_known(names: Iterable[str], available: Iterable[str], what: str) -> None:
    """Raise UserError where one of `names` is none of `available`: a name without effect is a mistake.

    `what` says where the names are written (`mix.weights`); the message lists what there is.
    """
    there = sorted(set(available))
    unknown = [name for name in dict.fromkeys(names) if name not in there]
    if not unknown:
        return
    more = f" and {len(there) - SHOWN_NAMES} more" if len(there) > SHOWN_NAMES else ""
    listed = f"there are {', '.join(there[:SHOWN_NAMES])}{more}" if there else "there are none"
    near = difflib.get_close_matches(unknown[0], there, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise UserError(f"{what}: no such name: {', '.join(unknown[:SHOWN_NAMES])} ({listed}){hint}")
