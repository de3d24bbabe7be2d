"""The notifier of a sweep that a controller runs, as its settings and the environment say."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

from sweeps.controller.controller import SweepController
from sweeps.costs import limit
from sweeps.monitor.notifications import SweepNotifications
from sweeps.monitor.notifier import Notifier
from sweeps.monitor.webhook import URL_VARIABLE, find_url


def build_notifier(
    controller: SweepController,
) -> Notifier | AbstractContextManager[None]:
    """Return the notifier of a controller's sweep; a context that does nothing without a webhook.

    The URL is passed on to the jobs of the sweep by the environment, which is in no file.

    Raises:
        UserError: the webhook is no URL.
    """
    url = find_url(controller.settings.notify)
    if url is None:
        return nullcontext()
    os.environ[URL_VARIABLE] = url
    settings, plan, store = controller.settings, controller.plan, controller.store
    return Notifier(
        url=url,
        store=store,
        sweep_id=plan.sweep_id,
        notifications=SweepNotifications(
            folder=store.get_sweep(plan.sweep_id),
            max_gpu_hours=settings.max_gpu_hours,
            gpus_per_run=limit.count_gpus_per_run(settings.launcher, plan.device),
        ),
        print_line=controller.display.print_line,
    )
