"""Export to TensorBoard: one folder of event files per cell, with its settings as hyper-parameters.

    tensorboard --logdir <folder>

The bytes of an event file follow from the cell alone, and those of a cell that trains on begin with
those of before. So a file is extended in place, which TensorBoard notices, and what a killed export
left is completed; a file that is no beginning of the new one is replaced.
"""

from __future__ import annotations

import io
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboard.summary.writer.record_writer import RecordWriter

from analysis.exports.source import Change, Changes, ExportedCell, SweepSource, select_values
from uniclip.io.atomic import atomic_write
from uniclip.store import RunStatus

EVENT_FILE = "events.out.tfevents.0.uniclip"
FILE_VERSION = "brain.Event:2"


def export(source: SweepSource, folder: Path) -> Changes:
    """Write the event file of every cell, `<folder>/<arm>-<seed>/`.

    Values are stored in single precision, the only one of TensorBoard's scalars.
    """
    for cell in source.iter_cells():
        path = folder / cell.file_name / EVENT_FILE
        yield cell.name, extend_file(path, build_event_file(cell))


def build_event_file(cell: ExportedCell) -> bytes:
    """Return the content of the event file of a cell."""
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    events = [Event(wall_time=cell.started_at, file_version=FILE_VERSION), _begin_session(cell)]
    for point in cell.curve:
        events.append(Event(wall_time=point.time, step=point.step, summary=_sum_up(point.values)))
    if cell.scores:
        scores = {f"scores/{name}": value for name, value in cell.score_values.items()}
        events.append(Event(wall_time=cell.end_time, step=cell.last_step, summary=_sum_up(scores)))
    if cell.is_final:
        events.append(_end_session(cell))
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    return stream.getvalue()


def extend_file(path: Path, data: bytes) -> Change:
    """Make `data` the content of a file, by appending if the file is a beginning of it.

    Bytes are written at their offset, so that two exports at once do not append them twice.
    """
    try:
        present = path.read_bytes()
    except FileNotFoundError:
        atomic_write(path, data)
        return "new"
    if present == data:
        return "unchanged"
    if not data.startswith(present):
        atomic_write(path, data)
        return "changed"
    with open(path, "r+b") as stream:
        stream.seek(len(present))
        stream.write(data[len(present) :])
    return "changed"


def _begin_session(cell: ExportedCell) -> Event:
    """Return the event with the hyper-parameters: arm, seed and configuration."""
    start_info = SessionStartInfo(group_name=cell.arm, start_time_secs=cell.started_at)
    settings = select_values({"arm": cell.arm, **cell.config, "seed": cell.seed})
    for name, value in sorted(settings.items()):
        if isinstance(value, bool):
            start_info.hparams[name].bool_value = value
        elif isinstance(value, str):
            start_info.hparams[name].string_value = value
        else:
            start_info.hparams[name].number_value = value
    summary = _wrap(
        metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start_info)
    )
    return Event(wall_time=cell.started_at, summary=summary)


def _end_session(cell: ExportedCell) -> Event:
    """Return the event that says how a finished run ended."""
    has_diverged = cell.status == RunStatus.DIVERGED
    end_info = SessionEndInfo(
        status=Status.STATUS_FAILURE if has_diverged else Status.STATUS_SUCCESS,
        end_time_secs=cell.end_time,
    )
    summary = _wrap(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end_info))
    return Event(wall_time=cell.end_time, step=cell.last_step, summary=summary)


def _wrap(tag: str, data: HParamsPluginData) -> Summary:
    """Return data of the plug-in for hyper-parameters as a summary, with the same bytes always."""
    content = data.SerializeToString(deterministic=True)
    plugin_data = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=content)
    value = Summary.Value(
        tag=tag, metadata=SummaryMetadata(plugin_data=plugin_data), tensor=metadata.NULL_TENSOR
    )
    return Summary(value=[value])


def _sum_up(values: dict[str, float]) -> Summary:
    """Return scalars as one summary."""
    return Summary(
        value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    )
