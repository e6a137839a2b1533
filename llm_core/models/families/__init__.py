"""The model families: one module each, which defines `FAMILY` (llm_core/models/family.py says what that describes).

A file here is all that a new family needs. A family of another distribution is one module of it and one line,
`[project.entry-points."llm_core.model_families"] name = "module"`.
"""
