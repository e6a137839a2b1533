"""Runs the program on standard input, as `python` without arguments does; what starts warm is a module (start.py)."""

import sys

exec(compile(sys.stdin.read(), "<stdin>", "exec"), {"__name__": "__main__"})
