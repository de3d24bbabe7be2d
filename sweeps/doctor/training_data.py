"""Check of the training data: what the user most likely does not want."""

from __future__ import annotations

from collections.abc import Iterator

from sweeps.doctor.context import DoctorContext
from sweeps.doctor.diagnostic import Diagnostic, warning
from uniclip.data import inspection

CHECK = "training data"


def check_training_data(context: DoctorContext) -> Iterator[Diagnostic]:
    """Warn of captions that are cut, skipped rows and labels without classes; opens no image.

    Samples are counted, also where the plan could not since there was no index.

    Raises:
        UserError: A batch takes more samples of a source than there are.
    """
    if context.resolved_plan is not None:
        configs = context.resolved_plan.configs.values()
        for data_warning in inspection.list_data_warnings(configs):
            yield warning(CHECK, data_warning.message, data_warning.fix)
        inspection.check_batch_sizes(configs)
