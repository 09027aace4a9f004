"""Develop a connectome: regions mature in the order given, each with its task; every stage leaves a snapshot.

python -m sims.develop --regions perception,motor,interaction
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from connectome.errors import ConnectomeError
from sims import wirings
from sims.planned import planned
from sims.program import Interrupts, add_loudness, complete_names, ended, exit_codes, locked, machine, refuse_seed
from sims.screen import StageLines, console_of, print_json, print_table, progress

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

    from connectome.development.configuration import Configuration
    from connectome.development.stage import Progress, Stage, StageState
    from connectome.graph.connectome import Connectome
    from connectome.io.checkpoint import Checkpoint
    from connectome.learning.ranks import Ranks

__all__ = ["CONFIGURATION", "RESULTS", "main", "parser", "start"]

RESULTS, CONFIGURATION, CHECKPOINTS = "results.nc", "configuration.toml", "checkpoints"
FIGURE, REPORT = "development.png", "report.html"
_WHAT_A_RUN_IS = (
    "regions", "out", "seed", "config", "set", "engine", "overwrite", "wiring", "regions-from", "sensory", "output",
    "signs", "wiring-shuffled",
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    options = argparse.ArgumentParser(
        prog="python -m sims.develop",
        description="Develop a spiking connectome through stages. Each region matures with its task; the rules grow, "
        "strengthen, inhibit and prune edges; every stage leaves a snapshot (HDF5, SONATA).",
        epilog=exit_codes(kept="a checkpoint is left: go on with --resume"),
    )
    regions = options.add_argument(
        "--regions", metavar="A,B,...",
        help="regions in the order in which they mature (default: perception,motor,interaction); perception=REGION "
        "takes its cells from this region of the wiring",
    )  # fmt: skip
    complete_names(regions, "tasks")
    wirings.add_options(options)
    options.add_argument("--out", type=Path, metavar="FOLDER", help="where to write (default: runs/seed<SEED>)")
    options.add_argument("--seed", type=int, help="0 or more; the same seed gives the same bytes (default: 0)")
    options.add_argument("--config", type=Path, metavar="FILE", help="TOML; what it leaves out keeps its default")
    options.add_argument(
        "--set", action="append", default=[], metavar="TABLE.KEY=VALUE",
        help="after the configuration file, e.g. --set training.perception=200; may be given again",
    )  # fmt: skip
    options.add_argument(
        "--engine", choices=["numba", "torch"],
        help="numba: event driven; torch: PyG message passing, much slower on a CPU (default: numba)",
    )  # fmt: skip
    options.add_argument(
        "--device", default=None, metavar="NAME",
        help="where the weights are and learn, such as cuda, with --engine torch (default: cpu)",
    )  # fmt: skip
    options.add_argument("--overwrite", action="store_true", help="replace the run that the folder holds")
    options.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="go on with the run in this folder, to the same bytes; it knows all other options",
    )
    options.add_argument(
        "--checkpoint-every", type=float, default=30.0, metavar="SECONDS",
        help="time from one checkpoint to the next, the most that a crash can lose; 0: at every update (default: 30)",
    )  # fmt: skip
    options.add_argument(
        "--track", choices=["tensorboard", "wandb"],
        help="follow loss, scores, edges and cost there: event files in RUN/tensorboard, or a run of Weights & Biases",
    )  # fmt: skip
    options.add_argument("--no-report", action="store_true", help=f"leave out {REPORT}, which takes some seconds")
    add_loudness(options, tables=True)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    out: Path = options.resume or options.out or Path("runs") / f"seed{options.seed or 0}"

    def kept() -> str:
        stages = f"Finished stages are in {out}: {', '.join(sorted(p.name for p in out.glob('*.h5'))) or 'none yet'}."
        return f"{stages} {_go_on(out)}" if (out / CHECKPOINTS).is_dir() else stages

    return ended("develop", lambda: _develop(options, out), kept)


def _develop(options: argparse.Namespace, out: Path) -> int:
    given = [
        f"--{name}" for name in _WHAT_A_RUN_IS if getattr(options, name.replace("-", "_")) not in (None, False, [])
    ]
    if options.resume and given:
        raise ConnectomeError(
            "--resume", "must come without options that say what the run is: its folder knows", ", ".join(given)
        )
    if not 0 <= options.checkpoint_every < math.inf:
        raise ConnectomeError("--checkpoint-every", "must be finite and 0 or more", options.checkpoint_every)
    if options.device is not None:
        from connectome.simulate.torch_runs import checked_device

        device = checked_device("--device", options.device)
        if device.type != "cpu" and not options.resume and options.engine != "torch":
            raise ConnectomeError("--device", "must go with --engine torch", options.device)
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # torchrun did not start it: no torch needed yet
        return _begin(options, out, None)
    from connectome.learning.ranks import joined

    with joined(options.device or "cpu") as ranks:
        return _follow(options, out, ranks) if ranks.rank else _begin(options, out, ranks)


def _begin(options: argparse.Namespace, out: Path, ranks: Ranks | None) -> int:
    if options.resume:
        if not out.is_dir():
            raise ConnectomeError("--resume", "must be the folder of a run", repr(str(out)))
        with locked("--resume", out), _saving(out):
            return _resume(options, out, ranks)
    return start(options, out, ranks=ranks)


def _follow(options: argparse.Namespace, out: Path, ranks: Ranks) -> int:
    """Develop what rank 0 develops, and write nothing. The run's folder is read only where it holds a wiring."""
    from connectome.development.stages import develop, versions

    found = ranks.given(None)
    if found is None:  # the run is finished
        return 0
    configuration, begun = found
    _, _, stages, data = planned(begun.regions, configuration, out)
    _check_versions("torchrun", begun, versions(stages) | data | _shared(ranks))
    with Interrupts() as interrupts:

        def on_point(state: Callable[[], StageState]) -> None:
            if ranks.any(bool(interrupts)):
                interrupts.raise_it()

        for _ in develop(
            stages, configuration.anatomy, seed=begun.seed, engine=begun.engine, resume=begun.state,
            test_trials=configuration.data.test_trials, device=options.device or "cpu", on_point=on_point, ranks=ranks,
        ):  # fmt: skip
            pass
    return 0


def start(options: argparse.Namespace, out: Path, held: Path | None = None, ranks: Ranks | None = None) -> int:
    """Begin a run and do it to its end, with the wiring that another run holds, if it took one, and the processes that
    share it, if there are more. Raises :class:`ConnectomeError`."""
    # Heavy imports wait until the options are known to parse: --help answers at once.
    import tomli_w

    from connectome.development.stages import versions
    from connectome.io.checkpoint import Checkpoint, save_checkpoint
    from connectome.io.hdf5 import make_folder
    from connectome.io.results import save_text

    seed = options.seed or 0
    refuse_seed(seed)
    regions, configuration = wirings.told(options)
    configuration, wiring, stages, data = planned(regions, configuration, held)
    text = tomli_w.dumps(configuration.table())
    made_with = versions(stages) | data | _shared(ranks)
    begun = Checkpoint(0, regions, seed, options.engine or "numba", text, made_with, (machine(),))
    with _writable(out):
        make_folder(out)
    with locked("--out", out):
        with _writable(out):
            _claim(out, options.overwrite, wiring)
            begun = replace(begun, files=wirings.keep(out, wiring))
        save_checkpoint(begun, out)
        with _saving(out):
            save_text(begun.configuration, out / CONFIGURATION)
            return _run(options, out, stages, configuration, begun, ranks)


def _resume(options: argparse.Namespace, out: Path, ranks: Ranks | None) -> int:
    from connectome.development.configuration import read_configuration
    from connectome.development.stages import versions
    from connectome.io.checkpoint import has_checkpoint, load_checkpoint
    from connectome.io.results import save_text
    from connectome.io.seal import MANIFEST, load_manifest

    if not has_checkpoint(out) and (out / MANIFEST).exists():
        load_manifest(out)
        if ranks is not None:
            ranks.given(None)
        if not options.quiet:
            print(f"{out} holds a finished run, whole: there is nothing to go on with.")
        return 0
    begun, damage = load_checkpoint(out)
    for what in damage:
        print(f"develop: {what} Going on from the checkpoint before it.", file=sys.stderr)
    written = out / CONFIGURATION
    if written.exists() and written.read_text("utf-8", "replace") != begun.configuration:
        raise ConnectomeError(str(written), "must be as the run wrote it", "another text", "Start another run with it.")
    _sweep(out)
    (out / MANIFEST).unlink(missing_ok=True)
    if not written.exists():
        save_text(begun.configuration, written)
    configuration = read_configuration(written)
    configuration, _, stages, data = planned(begun.regions, configuration, out)
    _check_versions("--resume", begun, versions(stages) | data | _shared(ranks))
    if machine() not in begun.machines:
        print(f"develop: this machine is not {begun.machines[-1]}: last bits could differ.", file=sys.stderr)
        begun = replace(begun, machines=(*begun.machines, machine()))
    return _run(options, out, stages, configuration, begun, ranks)


def _shared(ranks: Ranks | None) -> dict[str, str]:
    """What a run's last bits hang on besides versions."""
    return {"ranks": str(ranks.size)} if ranks is not None and ranks.size > 1 else {}


def _check_versions(option: str, begun: Checkpoint, now: Mapping[str, str]) -> None:
    names = {**begun.versions, "ranks": ""}
    then = {name: begun.versions.get(name) for name in names}
    changed = [f"{name} {then[name]}, now {now.get(name)}" for name in names if now.get(name) != then[name]]
    if changed:
        raise ConnectomeError(
            option, "must be with the versions and data that the run began with", "; ".join(changed),
            "With others its bytes could differ. Bring those back, or start the run again.",
        )  # fmt: skip


def _run(
    options: argparse.Namespace, out: Path, stages: Sequence[Stage], configuration: Configuration, begun: Checkpoint,
    ranks: Ranks | None,
) -> int:  # fmt: skip
    """Develop from where the run stands to its end."""
    from connectome.analysis.figures import draw_development
    from connectome.development.measured import account_of
    from connectome.development.results import tabulate
    from connectome.development.stages import develop
    from connectome.io.checkpoint import remove_checkpoints, save_checkpoint, stage_file
    from connectome.io.results import save_figure, save_results
    from connectome.io.seal import Manifest, digests, seal
    from connectome.io.snapshot import save
    from connectome.learning.ranks import ALONE
    from sims.report import write_report

    ranks = ranks or ALONE
    ranks.given((configuration, begun))
    text = begun.configuration
    attrs: dict[str, str | int] = {
        "seed": begun.seed, "engine": begun.engine, "regions": ",".join(begun.regions), "configuration": text,
        "versions": ", ".join(f"{name} {version}" for name, version in begun.versions.items()),
        "machine": "; ".join(begun.machines),
    }  # fmt: skip
    console = console_of(options)
    how = f"seed {begun.seed} into" if begun.state is None else f"seed {begun.seed} where it stood in"
    console.print(f"Developing [bold]{', '.join(begun.regions)}[/bold] with {how} {out}/", highlight=False)
    if stages[0].wiring is not None:
        for line in account_of(stages[0].wiring):
            console.print(line, highlight=False, markup=False)
    began = saved = time.monotonic()
    last, history, outcomes, files = begun, list(begun.history), list(begun.outcomes), dict(begun.files)
    followed = _followed(options, out, stages, configuration)
    with followed as follow, StageLines(console, stages, options.verbose) as display, Interrupts() as interrupts:
        for stand in history:
            display.show(stand)

        def on_progress(stand: Progress) -> None:
            history.append(stand)
            display.show(stand)
            follow(stand)

        def on_point(state: Callable[[], StageState]) -> None:
            nonlocal last, saved
            interrupted = ranks.any(bool(interrupts))  # asked by all ranks at once
            if not interrupted and time.monotonic() - saved < options.checkpoint_every:
                return
            following = replace(
                last, number=last.number + 1, state=state(), history=tuple(history), outcomes=tuple(outcomes),
                files=dict(files),
            )  # fmt: skip
            try:
                save_checkpoint(following, out)
                last = following
            except ConnectomeError as error:
                console.print(f"develop: no checkpoint: {error}", highlight=False, markup=False)
            saved = time.monotonic()  # no clock that can be set
            if interrupted:
                interrupts.raise_it()

        def keep(connectome: Connectome) -> None:
            provenance = connectome.provenance
            path = out / stage_file(provenance.stage, provenance.stage_name)
            save(connectome, path, config=text, overwrite=True)
            beside = (f"{file.parent.name}/{file.name}" for file in path.with_suffix(".sonata").iterdir())
            files.update(digests(out, [path.name, *beside]))

        for outcome in develop(
            stages, configuration.anatomy, seed=begun.seed, engine=begun.engine, resume=begun.state,
            test_trials=configuration.data.test_trials, device=options.device or "cpu", on_birth=keep,
            on_progress=on_progress, on_point=on_point, ranks=ranks,
        ):  # fmt: skip
            outcomes.append(outcome)
            keep(outcome.connectome)
            save_results(tabulate(outcomes, history, attrs), out / RESULTS)
        results = tabulate(outcomes, history, attrs)
        save_figure(draw_development(results), out / FIGURE)
        if not options.no_report:
            with progress(options, f"Writing {out / REPORT}"):
                write_report(str(out), out / REPORT, images=configuration.data.idx_folder)
        files |= digests(out, [CONFIGURATION, RESULTS, FIGURE, *([] if options.no_report else [REPORT])])
        seal(out, Manifest(begun.regions, begun.seed, begun.engine, begun.versions, begun.machines, files))
        remove_checkpoints(out)
    _report(console, results, out, time.monotonic() - began)
    if options.json:
        print_json(results)
    return 0


def _followed(
    options: argparse.Namespace, out: Path, stages: Sequence[Stage], configuration: Configuration
) -> AbstractContextManager[Callable[[Progress], None]]:
    """Who else hears of progress."""
    from connectome.development import trackers

    if options.track == "tensorboard":
        return trackers.tensorboard(out / "tensorboard", stages)
    if options.track == "wandb":
        about = {"dir": str(out), "name": out.name, "config": configuration.table()}
        return trackers.wandb(stages, project="connectome", **about)
    return nullcontext(lambda stand: None)


def _go_on(out: Path) -> str:
    return f"Go on with: python -m sims.develop --resume {shlex.quote(str(out))}"


def _claim(out: Path, overwrite: bool, wiring: Connectome | None) -> None:
    """Refuse a folder that holds a run, unless told to replace it. Raises :class:`OSError`."""
    from connectome.io.checkpoint import has_checkpoint, remove_checkpoints
    from connectome.io.seal import MANIFEST

    unfinished = has_checkpoint(out)
    names = sorted(p.name for p in out.iterdir() if re.fullmatch(r"\d\d_.*\.h5", p.name))
    # What would make half a run look like a whole one goes first.
    written = (MANIFEST, RESULTS, CONFIGURATION, FIGURE, REPORT, *names)
    ours = [out / name for name in written if os.path.lexists(out / name)]
    ours += wirings.claim(out, wiring)
    if (ours or unfinished) and not overwrite:
        raise ConnectomeError(
            "--out", "must not hold a run already", f"{out / CHECKPOINTS if unfinished else ours[0]}",
            f"{_go_on(out)}; or choose another folder, or add --overwrite." if unfinished
            else "Choose another folder, or add --overwrite.",
        )  # fmt: skip
    _sweep(out)
    (out / MANIFEST).unlink(missing_ok=True)
    (out / RESULTS).unlink(missing_ok=True)
    remove_checkpoints(out)
    for path in ours:
        path.unlink(missing_ok=True)


@contextmanager
def _saving(out: Path) -> Iterator[None]:
    """What cannot be written ends the run, but it has a checkpoint."""
    try:
        yield
    except ConnectomeError as error:
        if error.rule != "must be writable":
            raise
        raise ConnectomeError(error.field, error.rule, error.found, f"{error.hint} {_go_on(out)}".strip()) from error


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConnectomeError("--out", "must be a folder that can be written", f"{out}: {error.strerror}") from error


def _sweep(out: Path) -> None:
    """Remove what a killed process left half-written. Raises for a folder that cannot be listed, as no glob does."""
    for folder in filter(Path.is_dir, (out, out / CHECKPOINTS, (out / wirings.WIRING).parent, *out.glob("*.sonata"))):
        for name in filter(re.compile(r"\..*\.tmp").fullmatch, os.listdir(folder)):
            (folder / name).unlink()


def _report(console: Console, results: xr.Dataset, out: Path, seconds: float) -> None:
    """The table at the end, and what was written."""
    from connectome.development.results import of_kind

    stages = [str(s) for s in results.stage.values]
    rows = []
    local, (long_range, weight) = of_kind(results, "local").edges, of_kind(results, "long_range")
    for row, stage in enumerate(stages):
        scores = ["-" if v != v else f"{v:.1%}" for v in results.score.values[row]]
        strength = f"{float(weight[row]):.0f}" if long_range[row] else "-"
        rows.append([stage, *scores, f"{int(local[row]):,}", f"{int(long_range[row]):,}", strength])
    title = "Test score on each task (columns) after each stage (rows), and the graph"
    print_table(console, title, ["stage", *stages, "local", "long-range", "|w|"], rows)
    console.print("local, long-range: edges. |w|: mean |weight| of the long-range ones, pA.", highlight=False)
    peak = int(results.peak_local_edges[-1])
    console.print(
        f"Local edges: {int(local[-1]):,} of {peak:,} at their peak ({int(local[-1]) / peak:.0%}).", highlight=False
    )
    for name in stages[:-1]:
        cost = results.synaptic_operations.sel(task=name, stage=[name, stages[-1]]).values
        console.print(
            f"Synaptic operations per {name} sample: {cost[0]:,.0f}, at the end {cost[1]:,.0f} "
            f"({cost[1] / cost[0] - 1:+.0%}).", highlight=False,
        )  # fmt: skip
    files = ", ".join(sorted(p.name for p in out.iterdir() if p.is_file()))
    console.print(f"Written to {out}/: {files}.\nTook {seconds:.0f} s.", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
