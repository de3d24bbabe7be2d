"""The notifier of the sweeps that a command runs, as its settings and the environment say."""

from __future__ import annotations

import os

from sweeps.config.schema import SweepConfig
from sweeps.costs import limit
from sweeps.monitor.display import Display
from sweeps.monitor.notifications import SweepNotifications
from sweeps.monitor.notifier import Notifier
from sweeps.monitor.webhook import URL_VARIABLE, find_url
from uniclip.store import Plan, Store


def build_notifier(settings: SweepConfig, store: Store, plan: Plan, display: Display) -> Notifier:
    """Return the notifier of a command; without a webhook it posts nothing.

    The URL is passed on to the jobs of the sweep by the environment, which is in no file.

    Args:
        settings: how the cells are executed.
        store: the store.
        plan: the sweep that the command runs first.
        display: what shows the user that a message was not sent.

    Raises:
        UserError: the webhook is no URL.
    """
    url = find_url(settings.notify)
    if url is not None:
        os.environ[URL_VARIABLE] = url
    return Notifier(
        url=url,
        store=store,
        sweep_ids=[plan.sweep_id],
        notifications=SweepNotifications(
            store=store,
            max_gpu_hours=settings.max_gpu_hours,
            gpus_per_run=limit.count_gpus_per_run(settings.launcher, plan.device),
        ),
        print_line=display.print_line,
    )
