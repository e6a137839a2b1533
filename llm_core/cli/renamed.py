"""Names of options that earlier versions had: a command with one runs, and a line says the present name."""

from llm_core.runtime.terminal import say

RENAMED = {
    "agent": {"--tasks": "--questions"},
    "diff": {"--out": "--out-file"},
    "documents": {"--out": "--out-file"},
    "encoder-data": {"--questions": "--rows"},
    "evidence-data": {"--in": "--rows"},
    "finetune": {"--data": "--rows"},
    "generate": {"--tokens": "--max-new-tokens"},
    "promote": {"--model": "--name", "--out": "--out-file"},
    "register": {"--out": "--out-file"},
    "search": {"--top": "--limit"},
    "takedown": {"--file": "--takedowns", "--out": "--out-file"},
}
"""Verb -> earlier name -> present name."""


def present(verb: str, arguments: list[str]) -> list[str]:
    """The arguments of a verb with the present names of its options."""
    names, now = RENAMED.get(verb, {}), []
    if verb == "rollback" and arguments and not arguments[0].startswith("-"):
        say(f"llm-core: rollback {arguments[0]} is now rollback --name {arguments[0]}", error=True)
        return ["--name", *arguments]
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in names:
            say(f"llm-core: {verb} {name} is now {names[name]}", error=True)
            argument = names[name] + equals + value
        now.append(argument)
    return now
