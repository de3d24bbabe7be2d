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
    "skipped_samples": ("integer", "samples that are left out since they cannot be used"),
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
_RESULT: Fields = {
    "sweep": ("string", "id of the sweep; of tune, with the tuned arms once they are chosen"),
    "cells": ("object", "status -> number of cells that have it"),
    "report": (_OPTIONAL_TEXT, "folder of the report; null if none was written"),
    "exit_status": ("integer", "exit status of the command; 1 if a cell failed"),
    "message": ("string", "why the command ended before the sweep did; empty if it did not"),
}
_CHECKED_DATASET: Fields = {
    "dataset": ("string", "name of the data set"),
    "data_root": ("string", "folder in which it was looked for"),
    "availability": ("string", "complete, partial, missing, mismatch or corrupt"),
    "images": ("object", "split that is present -> number of its images"),
    "details": ("array", "lines on what was checked, and what to do"),
}

SCHEMAS: dict[str, Schema] = {
    "run": _make_schema(_RESULT, is_list=False),
    "retry": _make_schema(_RESULT, is_list=False),
    "tune": _make_schema(_RESULT, is_list=False),
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
    "review": _make_schema(
        {
            "check": ("string", "name of the check, such as unequal_compute"),
            "title": ("string", "what was found"),
            "severity": ("string", "major or minor"),
            "evidence": ("array", "lines with arms, scores and numbers"),
            "reason": ("string", "why a reviewer would ask"),
            "answer": ("string", "the cheapest cells that answer it"),
            "runs": ("object", "arm -> number of runs, in runs of the sweep"),
            "evaluations": ("integer", "runs that are evaluated once more, without training"),
            "seconds": (_OPTIONAL_NUMBER, "estimated worker seconds; null if not measured"),
            "gpu_hours": (_OPTIONAL_NUMBER, "estimated GPU-hours; null on CPUs"),
            "commands": ("array", "command lines, without the program"),
        }
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
    "cancel": _make_schema(
        {
            "sweep": ("string", "id of the sweep"),
            "jobs": ("array", "Slurm ids of the jobs that were cancelled"),
        },
        is_list=False,
    ),
    "diff": _make_schema(
        {
            "first": ("string", "cell, run or sweep"),
            "second": ("string", "what it is compared with"),
            "first_run": (_OPTIONAL_TEXT, "id of the run of a cell; null for sweeps"),
            "second_run": (_OPTIONAL_TEXT, "id of the run of a cell; null for sweeps"),
            "differences": (
                "array",
                'section, name, and the values first and second; a value that one lacks is "-"',
            ),
            "notes": ("array", "lines on sections without a difference"),
        },
        is_list=False,
    ),
    "logs": _make_schema(
        {
            "cell": ("string", "cell, or start of the run id, as it was given"),
            "run": ("string", "id of the run"),
            "attempt": ("integer", "attempt of this log, the newest that printed anything"),
            "newest_attempt": ("integer", "number of the newest attempt"),
            "ended_as": (_OPTIONAL_TEXT, "how the newest attempt ended; null if it did not"),
            "log": ("string", "path of the log"),
            "text": ("string", "content of the log"),
            "last_metrics": ("object", "phase -> its last record of metrics"),
        },
        is_list=False,
    ),
    "data check": _make_schema(_CHECKED_DATASET),
    "data download": _make_schema(_CHECKED_DATASET),
    "data export": _make_schema(
        {
            "folder": ("string", "folder of a split"),
            "samples": ("integer", "number of images"),
            "shards": ("integer", "number of files"),
        }
    ),
    "data hash": _make_schema(
        {"images": ("integer", "images whose thumbnails are stored")}, is_list=False
    ),
    "data pack": _make_schema(
        {
            "folder": ("string", "folder of the shards"),
            "samples": ("integer", "number of samples that were written"),
            "left_out": ("object", "reason -> number of rows that were left out"),
        },
        is_list=False,
    ),
    "init": _make_schema(
        {
            "folder": ("string", "folder of the project"),
            "files": ("array", "paths of its files, without the images"),
            "next_command": ("string", "command that runs it"),
        },
        is_list=False,
    ),
    "serve": _make_schema(
        {
            "url": ("string", "address of the page, printed before it is served"),
            "store": ("string", "path of the store"),
        },
        is_list=False,
    ),
    "bundle": _make_schema(
        {
            "sweep": ("string", "id of the sweep"),
            "bundle": ("string", "path of the file"),
            "digest": ("string", "SHA-256 hash of its manifest"),
            "cells": ("integer", "number of cells of the sweep"),
            "finished_cells": ("integer", "number of cells whose runs are in the bundle"),
            "files": ("integer", "number of files"),
            "bytes": ("integer", "size of the bundle"),
            "skipped": ("array", "files that were left out because of their names"),
        },
        is_list=False,
    ),
    "verify": _make_schema(
        {
            "bundle": ("string", "path of the bundle"),
            "digest": ("string", "SHA-256 hash of its manifest"),
            "files": ("integer", "number of files in the manifest"),
            "damage": ("array", "lines on files that are damaged, missing or not listed"),
            "inconsistencies": ("array", "lines on records that do not fit together"),
            "sweep": (_OPTIONAL_TEXT, "id of the sweep; null if the bundle is damaged"),
            "finished_cells": ("integer", "number of cells whose runs are in the bundle"),
            "draw": (("integer", "null"), "draw of the cells that were trained anew"),
            "reruns": ("array", "cell, passed, agreement, reason and largest_difference of each"),
        },
        is_list=False,
    ),
    "import": _make_schema(
        {
            "sweep": ("string", "id of the sweep"),
            "runs": ("array", "ids of its runs"),
            "new_runs": ("integer", "how many of them the store did not have"),
        },
        is_list=False,
    ),
    "merge": _make_schema(
        {
            "new_runs": ("array", "ids of the runs that only the sources have"),
            "shared_runs": (
                "array",
                "run, source, agreement, reason and largest_difference of runs that both have",
            ),
            "busy_runs": ("array", "ids of runs that are being executed and were not replaced"),
            "contradictions": ("array", "lines; if there are any, nothing is written"),
            "is_written": ("boolean", "false after --dry-run, or if sources contradict"),
            "sweeps": ("array", "ids of the sweeps that were merged or joined"),
        },
        is_list=False,
    ),
}
"""Command, or command and kind -> schema."""
