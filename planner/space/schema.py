"""The JSON Schema of study files, for editors."""

from __future__ import annotations

from typing import Any

from planner.space.plugins import runner_class, runner_kinds
from planner.space.spec import StudySpec

__all__ = ["study_schema"]


def study_schema() -> dict[str, Any]:
    """The schema, with the keys of every installed runner under `runner`."""
    schema = StudySpec.model_json_schema()
    kinds = []
    for kind in runner_kinds():
        settings = runner_class(kind).Config.model_json_schema(ref_template="#/$defs/{model}")
        schema["$defs"].update(settings.pop("$defs", {}))
        properties = {"kind": {"const": kind}, **settings.get("properties", {})}
        kinds.append({**settings, "title": f"runner: {kind}", "properties": properties,
                      "required": ["kind", *settings.get("required", [])]})
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$defs"]["RunnerSpec"] = {"title": "runner", "anyOf": kinds}
    return schema
