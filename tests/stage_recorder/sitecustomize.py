"""Records what a verb reads. Python imports this module at its start, in child processes too, if PYTHONPATH names it.

With STAGE_RECORD=FILE each read adds a line to FILE: `param`, `file` (opened for reading), `folder` (listed), `look`
(asked whether it is there, and it is) or `code` (a module of this project), a tab, and what was read. With
STAGE_BLOCK=NAME,NAME an import of these packages fails. Files that compiled libraries open are seen through the
listing of their folder or the look that comes before.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder

WHOLE = ("__dict__", "model_fields_set", "__pydantic_fields_set__")  # copying, dumping and comparing read these
PARAMS = "llm_core.params"


def start(file):
    """Record the reads of this process to `file`, and of the processes that it forks."""
    stream = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    project, seen = os.environ["STAGE_PROJECT"], set()

    def note(kind, what):
        if (kind, what) not in seen:
            seen.add((kind, what))
            os.write(stream, f"{kind}\t{what}\n".encode(errors="backslashreplace"))

    def note_path(kind, path):
        if isinstance(path, str | bytes | os.PathLike):
            path = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - a link is kept
            if path.startswith(project + os.sep):
                note(kind, os.path.relpath(path, project))

    def hook(event, arguments):
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            note_path("file", arguments[0])
        elif event in ("os.listdir", "os.scandir"):
            note_path("folder", arguments[0] or ".")

    look = os.stat

    def stat(path, *arguments, **named):
        found = look(path, *arguments, **named)
        if named.get("dir_fd") is None:
            note_path("look", path)
        return found

    os.stat = stat
    sys.addaudithook(hook)
    sys.meta_path.insert(0, Imports(note))


class Imports(MetaPathFinder):
    """Notes the modules of this project that are imported, and watches the params once their module is loaded."""

    def __init__(self, note):
        self.note = note

    def find_spec(self, name, path=None, target=None):
        """None, so that the usual finders go on; for the params' module their spec, with a loader that does more."""
        if name.startswith("llm_core."):
            self.note("code", name)
        if name != PARAMS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module

        def load_and_then(module):
            load(module)
            watch(module, self.note)

        spec.loader.exec_module = load_and_then
        return spec


class Blocked(MetaPathFinder):
    """Refuses imports of the packages named."""

    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        """None for any other module. Raises ImportError."""
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is blocked here", name=name)


def watch(module, note):
    """Record the fields read of all params that `module.validate` returns from now on."""
    section, kept, paths = module.Section, [], {}
    read, validate = section.__getattribute__, module.validate

    class Watched(dict):
        """A dictionary of the params that notes which of its keys are read."""

        def __init__(self, values, path):
            super().__init__(values)
            self.path = path

        def __getitem__(self, key):
            value = super().__getitem__(key)
            if not isinstance(value, section | Watched):
                note("param", f"{self.path}.{key}")
            return value

        def get(self, key, default=None):
            note("param", f"{self.path}.{key}")
            return super().get(key, default)

        def __contains__(self, key):
            note("param", f"{self.path}.{key}")
            return super().__contains__(key)

        def __reduce__(self):
            note("param", self.path)
            return dict, (dict(self),)

    def noting(name, what):
        def method(self, *arguments):
            note("param", self.path + what)
            return getattr(dict, name)(self, *arguments)

        return method

    for name in ("__iter__", "__len__", "keys"):
        setattr(Watched, name, noting(name, ".*"))  # the names alone
    for name in ("__eq__", "__or__", "__ror__", "values", "items", "copy"):
        setattr(Watched, name, noting(name, ""))

    def enter(value, path):
        """`value` with all that is below it watched."""
        if isinstance(value, section):
            if first := paths.pop(id(value), None):  # a default that several sections share
                shared, value = value, value.model_copy()
                paths[id(shared)] = first
            for fields in (read(value, "__dict__"), read(value, "__pydantic_extra__") or {}):
                for name, inner in fields.items():
                    fields[name] = enter(inner, f"{path}.{name}" if path else name)
            paths[id(value)] = path
            kept.append(value)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, section):
                    enter(inner, f"{path}.{key}")
            return Watched(value, path)
        return value

    def getattribute(self, name):
        value = read(self, name)
        path = paths.get(id(self))
        if path is not None and name in WHOLE:
            note("param", path or "*")
        elif path is not None and name in type(self).model_fields and not isinstance(value, section | Watched):
            note("param", f"{path}.{name}" if path else name)
        return value

    section.__getattribute__ = getattribute
    module.validate = lambda *arguments, **named: enter(validate(*arguments, **named), "")


if "STAGE_BLOCK" in os.environ:
    names = os.environ["STAGE_BLOCK"].split(",")
    if loaded := [name for name in names if name in sys.modules]:
        raise RuntimeError(f"loaded already, so that they cannot be blocked: {loaded}")
    sys.meta_path.insert(0, Blocked(names))
if "STAGE_RECORD" in os.environ:
    start(os.environ["STAGE_RECORD"])
