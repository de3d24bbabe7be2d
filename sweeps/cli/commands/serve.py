"""`sweep.py serve`: serve the pages of a store to a browser on this machine, while cells run."""

from __future__ import annotations

import errno
from argparse import ArgumentParser, Namespace

from sweeps.config.selection import (
    SWEEP_HELP,
    has_ablation,
    open_store,
    print_notes,
    require_no_cells,
    select_plan,
)
from sweeps.monitor.terminal import print_json
from uniclip.errors import UserError
from uniclip.store import Plan, Store

DEFAULT_PORT = 8899


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, and the flags --port and --json."""
    parser.add_argument(
        "names", nargs="*", metavar="sweep", help=f"{SWEEP_HELP}; without one, all of the store"
    )
    parser.add_argument(
        "--port",
        type=int,
        metavar="N",
        help=f"port on 127.0.0.1; 0: any that is free (default: {DEFAULT_PORT}, or a free one)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the address as JSON when it can be opened"
    )


def run(arguments: Namespace) -> int:
    """Print the address of the page, and serve it until Ctrl-C."""
    plans: tuple[Plan, ...] = ()
    if arguments.names or has_ablation(arguments.overrides):
        selection = select_plan("serve", arguments.names, arguments.overrides)
        require_no_cells("serve", selection.cell_names)
        print_notes(selection.notes)
        store, plans = selection.store, (selection.plan,)
    else:
        store = open_store(arguments.overrides)
    return _serve(store, plans, arguments.port, as_json=arguments.json)


def _serve(store: Store, plans: tuple[Plan, ...], port: int | None, *, as_json: bool) -> int:
    from sweeps.server.page_server import PageServer, serve  # here: it needs pandas and Jinja

    if port is not None and not 0 <= port < 65536:
        raise UserError(f"--port={port}: give a number from 0 to 65535")
    try:
        server = PageServer(store, plans, DEFAULT_PORT if port is None else port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        if port is not None:
            raise UserError(f"--port={port}: {error.strerror}; give another one, or 0") from None
        server = PageServer(store, plans)
    url = server.get_page_url(plans[0].sweep_id) if plans else server.url
    if as_json:
        print_json({"url": url, "store": str(store.root)})
    else:
        print(f"page: {url}", flush=True)
        print("only this machine reaches it; stop it by Ctrl-C", flush=True)
    serve(server)
    return 0
