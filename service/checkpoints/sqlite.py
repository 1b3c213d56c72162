"""Checkpoints in a file: SQLite in WAL mode, shared by the workers of one machine.

A save is one transaction, durable when it returns (synchronous=FULL), in a thread of its own. The file is made whole
under another name and moved into place, so a file that is there and is not ours, or is cut, is never taken for new.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar, final

from service.ports import CheckpointError, FencedError

FORMAT = "onward checkpoints 1"
_BUSY_SECONDS = 30.0
"""Workers that share the file wait this long for each other; a save takes milliseconds."""
_SCHEMA = """
    CREATE TABLE format (text TEXT NOT NULL);
    CREATE TABLE owner (partition INTEGER PRIMARY KEY, token BLOB NOT NULL);
    CREATE TABLE record (partition INTEGER NOT NULL, key BLOB NOT NULL, data BLOB NOT NULL, PRIMARY KEY (partition, key));
"""
_T = TypeVar("_T")


@final
class SqliteBackend:
    """`service.checkpoints.store.Backend` in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = secrets.token_bytes(16)
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def start(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        try:
            self._connection = await self._run(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    async def stop(self) -> None:
        if self._connection is not None:
            await self._run(self._connection.close)
            self._connection = None
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    async def claim(self, partition: int) -> None:
        def run() -> None:
            with self._transaction() as connection:
                connection.execute("REPLACE INTO owner VALUES (?, ?)", (partition, self._token))

        await self._run(run)

    async def read(self, partition: int) -> AsyncIterator[tuple[str, bytes | None]]:
        # Some at a time: the states of all series need not be in memory twice.
        batches = await self._run(lambda: self._batches(partition))
        while (batch := await self._run(lambda: next(batches, None))) is not None:
            for key, data in batch:
                yield _text(key), data if isinstance(data, bytes) else b""

    async def write(self, partition: int, records: Sequence[tuple[str, bytes | None]]) -> None:
        def run() -> None:
            with self._transaction() as connection:
                self._require_ownership(connection, partition)
                for key, data in records:
                    if data is None:
                        connection.execute(
                            "DELETE FROM record WHERE partition = ? AND key = ?", (partition, key.encode())
                        )
                    else:
                        connection.execute(
                            "REPLACE INTO record VALUES (?, ?, ?)", (partition, key.encode(), data)
                        )

        await self._run(run)

    async def erase(self, partition: int) -> None:
        def run() -> None:
            with self._transaction() as connection:
                self._require_ownership(connection, partition)
                connection.execute("DELETE FROM record WHERE partition = ?", (partition,))

        await self._run(run)

    async def _run(self, function: Callable[[], _T]) -> _T:
        if self._thread is None:
            raise RuntimeError("the checkpoint store is not started")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except (
            sqlite3.DatabaseError,
            UnicodeDecodeError,
        ) as error:  # it decodes its messages, with what is in the file
            raise CheckpointError(
                f"the checkpoint file {self._path} cannot be used ({error}). If it is damaged, put a copy of it back, or "
                f"give up the state of all partitions: stop the workers, remove {self._path}, {self._path}-wal and "
                f"{self._path}-shm, and start again; all is then learned anew from the start of the log"
            ) from error

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists():
            _create(self._path)
        # Autocommit, for transactions of our own. Used by the store's one thread, made and closed in it.
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            # Before anything that writes: a file that is not ours stays as it is.
            found = connection.execute("SELECT text FROM format").fetchall()
            if found != [(FORMAT,)]:
                raise sqlite3.DatabaseError(f"its format is {found}, not {FORMAT!r}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            raise RuntimeError("the checkpoint store is not started")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.rollback()
            raise

    def _require_ownership(self, connection: sqlite3.Connection, partition: int) -> None:
        owner = connection.execute("SELECT token FROM owner WHERE partition = ?", (partition,)).fetchone()
        if owner != (self._token,):
            raise FencedError(f"another worker has taken over the checkpoint of partition {partition}")

    def _batches(self, partition: int) -> Iterator[list[tuple[Any, Any]]]:
        if self._connection is None:
            raise RuntimeError("the checkpoint store is not started")
        cursor = self._connection.execute("SELECT key, data FROM record WHERE partition = ?", (partition,))
        return iter(lambda: cursor.fetchmany(256), [])


def _text(key: object) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)


def _create(path: Path) -> None:
    """Make an empty file of ours, whole or not at all; another worker may be doing the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    new = Path(name)
    try:
        with closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.executescript(_SCHEMA)
            connection.execute("INSERT INTO format VALUES (?)", (FORMAT,))
        try:
            path.hardlink_to(new)
        except FileExistsError:
            return
    finally:
        new.unlink()
