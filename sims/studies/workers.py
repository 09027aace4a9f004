"""Who runs cells: processes of this machine, or the workers of a Dask cluster. Both are executors."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectome.errors import ConnectomeError
from connectome.plugins import package_versions

__all__ = ["on_cluster", "on_this_machine"]

_OPTION = "--scheduler"
_GOES_ON = "Finished cells are kept: the same command goes on from them."


@contextmanager
def on_this_machine(jobs: int) -> Iterator[Executor]:
    """So many processes, each with its share of the cores. If the block fails they end at once."""
    from connectome.graph.flat import cores

    share = multiprocessing.get_context("spawn").Queue()
    for k in range(jobs):
        share.put((k, jobs, cores()))
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _take_share, (share,))
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()  # what is half done is done again
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _take_share(share: Any) -> None:
    """Bind a worker to its share of the cores, so that workers do not crowd each other; it ends when its parent does,
    also if that is killed."""
    import signal

    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the workers
    k, jobs, n = share.get()
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))[k % n :: jobs]
        os.sched_setaffinity(0, mine)
    os.environ["OMP_NUM_THREADS"] = str(max(1, n // jobs))  # torch, once it is imported


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # what is half done is done again


@contextmanager
def on_cluster(scheduler: str) -> Iterator[Executor]:
    """The workers of a Dask cluster, those that come later too. What they give travels back: no file system need be
    shared. ``scheduler``: its address, or the file that it wrote. If the block fails, what waits there is dropped.

    Raises :class:`ConnectomeError` where Dask is not installed, no scheduler answers, or it is lost.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ConnectomeError(_OPTION, "needs Dask", "no package distributed", "Install the extra `dask`.") from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what is lost is said here, in one message
    where = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        # Not the default client: xarray would ask the cluster for a lock to write with.
        client = Client(**where, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ConnectomeError(_OPTION, "must be the address of a Dask scheduler that answers", error) from None
    with client, _said():
        if not client.scheduler_info()["workers"]:
            print(f"{_OPTION}: no worker has come yet; the work waits for the first.", file=sys.stderr)
        yield _Workers(client)


class _Workers(Executor):
    """A cluster's workers as an executor: each cell first compares versions."""

    def __init__(self, client: Any) -> None:
        self._pool, self._versions = client.get_executor(pure=False), package_versions()

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        return self._pool.submit(_checked, self._versions, function, *arguments, **options)  # type: ignore[no-any-return]


def _checked(wanted: Mapping[str, str], function: Callable[..., Any], *arguments: Any) -> Any:
    """On a worker: do it, if the same versions are here. Raises :class:`ConnectomeError`."""
    from distributed import get_worker

    worker, here = get_worker(), package_versions()
    others = [name for name in wanted if here[name] != wanted[name]]
    if others:
        must, found = (", ".join(f"{name} {of[name]}" for name in others) for of in (wanted, here))
        hint = "Results hang on versions: install the same."
        raise ConnectomeError(f"{_OPTION}: worker {worker.address}", f"must have {must}", found, hint)
    if worker.state.nthreads > 1:
        raise ConnectomeError(
            f"{_OPTION}: worker {worker.address}", "must do one cell at a time", f"{worker.state.nthreads} threads",
            "Start workers with --nthreads 1.",
        )  # fmt: skip
    return function(*arguments)


@contextmanager
def _said() -> Iterator[None]:
    """What a cluster can fail by, each in one message: a scheduler that is lost, a cell that ends worker after worker,
    workers without our packages."""
    try:
        yield
    except CancelledError:
        raise ConnectomeError(_OPTION, "must stay until all is done", "the scheduler is lost", _GOES_ON) from None
    except ModuleNotFoundError as error:
        rule, hint = "must have workers that can import what cells are made of", "Install the same there."
        raise ConnectomeError(_OPTION, rule, error, hint) from None
    except Exception as error:
        if type(error).__name__ != "KilledWorker":
            raise
        found = "a cell at which several ended; too little memory, perhaps"
        raise ConnectomeError(_OPTION, "must have workers that live", found, _GOES_ON) from None
