"""Storages of Optuna: a journal in a file, or a database by its URL."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.tuning.sampler import import_optuna
from uniclip.errors import UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

URL_VARIABLE = "UNICLIP_STORAGE"
"""Environment variable with the storage of a tuning; the key `storage=` has precedence."""
CONNECT_TIMEOUT_SECONDS = 10
"""Time after which a PostgreSQL server that does not answer counts as unreachable."""
DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
SQLITE_HEADER = b"SQLite format 3\0"
MAX_ERROR_COLUMNS = 200


def find_storage(url: str, *, is_passed_on: bool) -> str:
    """Return the storage of the key `storage`, or of the environment; "" for the default.

    Args:
        url: The value of the key.
        is_passed_on: Whether follow-up jobs get it by the environment, which is in no file: a URL
            may hold a password.
    """
    url = url or os.environ.get(URL_VARIABLE, "")
    if url and is_passed_on:
        os.environ[URL_VARIABLE] = url
    return url


def open_storage(url: str, journal_path: Path) -> BaseStorage:
    """Open a storage, and create its file or tables where there are none.

    Args:
        url: URL of a database as SQLAlchemy reads it, or path of a journal; empty for the default.
        journal_path: The default journal. Its folder must exist.

    Raises:
        UserError: the storage cannot be reached, or its driver is not installed.
    """
    optuna = import_optuna()
    with translate_errors(url or str(journal_path)):
        if "://" not in url:
            _reject_database_path(url)
            path = str(Path(url).expanduser() if url else journal_path)
            backend = optuna.storages.journal.JournalFileBackend(path)
            journal: BaseStorage = optuna.storages.JournalStorage(backend)
            return journal
        arguments: dict[str, Any] = {}
        if url.startswith("postgresql"):
            arguments["connect_args"] = {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
        database: BaseStorage = optuna.storages.RDBStorage(url, engine_kwargs=arguments)
        return database


def _reject_database_path(path: str) -> None:
    """Raise `UserError` for a path that means a database of SQLite: it would become a journal."""
    file = Path(path).expanduser()
    if path.endswith(DATABASE_SUFFIXES) and not (file.is_file() and not _is_sqlite(file)):
        raise UserError(
            f"storage={path} would be a journal: write storage=sqlite:///{path} for a database, "
            "or a path that ends with .journal"
        )


def _is_sqlite(file: Path) -> bool:
    with open(file, "rb") as stream:
        return stream.read(len(SQLITE_HEADER)) == SQLITE_HEADER


@contextmanager
def translate_errors(url: str) -> Iterator[None]:
    """Raise a `UserError` in place of any error of a storage, in one line without password."""
    from sqlalchemy.exc import SQLAlchemyError

    optuna = import_optuna()
    shown_url = hide_password(url)
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"storage={shown_url} needs a driver that is not installed ({error}); for PostgreSQL: "
            "pip install 'psycopg[binary]', and storage=postgresql+psycopg://..."
        ) from None
    except (
        SQLAlchemyError,
        optuna.exceptions.OptunaError,
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
    ) as error:
        cause = error.__cause__ if isinstance(error, optuna.exceptions.OptunaError) else None
        lines = str(cause or error).strip().splitlines() or [type(error).__name__]
        text = hide_password(lines[0])[:MAX_ERROR_COLUMNS]
        is_file = "://" not in url or url.startswith("sqlite")
        remedy = (
            "create the folder, correct the path"
            if is_file
            else ("start the server, correct the URL")
        )
        raise UserError(
            f"storage={shown_url} cannot be used: {text}; {remedy}, or leave storage= out for a "
            "file in the store"
        ) from None


def hide_password(text: str) -> str:
    """Return text in which the passwords of URLs are replaced by `***`."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)
