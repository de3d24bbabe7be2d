"""JSON Schemas (draft 2020-12) of what commands print with `--json`.

A command prints one JSON document to the standard output, and nothing else. Fields may be added in
a later version; those that are listed here stay.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
Fields = dict[str, tuple[str | tuple[str, ...], str]]
"""Field -> (type or types, meaning)."""


def _make_schema(fields: Fields, *, is_list: bool = True) -> Schema:
    """Return the schema of a record with these fields, or of a list of such records."""
    record: Schema = {
        "type": "object",
        "properties": {
            name: {"type": list(kind) if isinstance(kind, tuple) else kind, "description": meaning}
            for name, (kind, meaning) in fields.items()
        },
        "required": list(fields),
        "additionalProperties": False,
    }
    return {"type": "array", "items": record} if is_list else record


_OPTIONAL_TEXT, _OPTIONAL_NUMBER = ("string", "null"), ("number", "null")
_CELL: Fields = {
    "cell": ("string", "<arm>/<seed>"),
    "run": ("string", "id of the run"),
    "status": ("string", "status of the cell, such as running or complete"),
    "attempt": ("integer", "number of the newest attempt; 0: none"),
    "reason": ("string", "why it has this status"),
    "log": (_OPTIONAL_TEXT, "path of the newest log"),
    "phase": (_OPTIONAL_TEXT, "what the newest attempt does: training, evaluating, ..."),
    "step": (("integer", "null"), "training steps that are done"),
    "total_steps": (("integer", "null"), "training steps of the run"),
    "steps_per_second": (_OPTIONAL_NUMBER, "training steps per second"),
    "data_wait": (_OPTIONAL_NUMBER, "share of the time spent waiting for batches"),
    "loss": (_OPTIONAL_NUMBER, "last logged training loss"),
    "unreadable_images": ("integer", "training images that were replaced"),
    "seconds_left": (_OPTIONAL_NUMBER, "estimated seconds of training that are left"),
    "last_heartbeat": (_OPTIONAL_NUMBER, "its time, in seconds since the epoch"),
    "job": (_OPTIONAL_TEXT, "Slurm job id"),
    "host": (_OPTIONAL_TEXT, "host of the newest attempt"),
    "location": ("string", "process, or job and node"),
    "advice": ("string", "what to do"),
}
_ENTRY: Fields = {
    "name": ("string", "name of the choice"),
    "description": ("string", "what it is"),
}
_STORED: Fields = {
    "state": ("string", "state of its cells, or of the run"),
    "progress": ("string", "how much is done"),
    "date": (_OPTIONAL_NUMBER, "in seconds since the epoch"),
    "bytes": ("integer", "size of its files"),
}

SCHEMAS: dict[str, Schema] = {
    "plan": _make_schema(
        {**_CELL, "cost_estimate": (("object", "null"), "estimated seconds and GPU-hours")}
    ),
    "status": _make_schema(_CELL),
    "report": _make_schema(
        {
            "sweep": ("string", "id of the sweep"),
            "folder": ("string", "folder of the report"),
            "is_rebuilt": ("boolean", "false if the results had not changed"),
            "summary": ("array", "lines of the summary"),
            "notes": ("array", "lines on files that were edited and stay"),
            "planted_effects": ("array", "status, description and detail of each known result"),
        },
        is_list=False,
    ),
    "notebook": _make_schema(
        {
            "notebook": ("string", "path of the notebook"),
            "notes": ("array", "lines on files that were edited and stay"),
        },
        is_list=False,
    ),
    "export": _make_schema(
        {
            "name": ("string", "cell or file"),
            "change": ("string", "new, changed or unchanged"),
            "to": ("string", "folder, or URL without a password"),
        }
    ),
    "list": _make_schema(_ENTRY),
    "list keys": _make_schema(
        {
            "key": ("string", "name of the key"),
            "default": ("string", "its default"),
            "values": ("string", "what it takes"),
            "range": ("string", "range of numbers"),
            "meaning": ("string", "what it sets"),
            "choices": ("array", "choices of groups with which it exists"),
        }
    ),
    "list runs": _make_schema(
        {"run": ("string", "id"), **_STORED, "cells": ("array", "its cells, as texts")}
    ),
    "list sweeps": _make_schema(
        {"sweep": ("string", "id"), **_STORED, "command": ("string", "command that continues it")}
    ),
    "doctor": _make_schema(
        {
            "check": ("string", "what was checked"),
            "level": ("string", "ok, warning or problem"),
            "message": ("string", "result"),
            "fix": ("string", "how to fix it; may be empty"),
        }
    ),
    "gc": _make_schema(
        {
            "folder": ("string", "path of a folder"),
            "bytes": ("integer", "size of its files"),
            "is_deleted": ("boolean", "whether --yes was given"),
        }
    ),
}
"""Command, or command and kind -> schema."""
