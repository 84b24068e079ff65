"""One run: set up, faults and processes for so long, the end, and the account."""

import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from chaos import account, evidence, leaks
from chaos.endings import unexplained
from chaos.faults import Faults, misses
from chaos.pipeline import PATIENCE, Pipeline
from chaos.program import End
from chaos.schedule import Fault, plan

TICK = 0.05
MOST_CHARACTERS = 200
"""Of either end of what a command said."""


@dataclass
class Result:
    """What came of a run; `findings` has a sentence for whatever is wrong."""

    faults: Counter[str] = field(default_factory=Counter)
    ends: list[End] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    figures: account.Figures | None = None
    findings: list[str] = field(default_factory=list)
    folder: Path | None = None


class Run:
    """A run of a pipeline; `say` is told what happens."""

    def __init__(self, seed: int, seconds: float, say: Callable[[str], None]) -> None:
        self.seconds = seconds
        self.say = say
        self.result = Result()
        self._plan = plan(seed, seconds)
        self._seed = seed
        self._over = threading.Event()
        self._findings = self.result.findings

    def run(self) -> Result:
        """Run; the folder is kept where something is wrong."""
        folder = Path(tempfile.mkdtemp(prefix="pgsegments-chaos-"))
        folder.chmod(0o755)
        self.result.folder = folder
        pipeline = Pipeline(folder, self._seed)
        self._faults = Faults(pipeline, self._over)
        self.say(
            f"starting a server, a receiver, loaders, listeners and an export in {folder}, which stays where something is wrong"
        )
        try:
            # The server ends with the thread that started it: the tracks' threads are there until the end.
            with self._noting("The run"), ThreadPoolExecutor(len(self._plan), "track") as pool, pipeline.running():
                self._play(pipeline, pool)
                self.say("no more faults: everything is brought to its end, and compared")
                self._settle(pipeline)
            self._findings += leaks.processes(pipeline)
        except KeyboardInterrupt:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not self._findings:
            shutil.rmtree(folder, ignore_errors=True)
        self.result.faults = self._faults.counts
        self.result.ends = pipeline.ends
        return self.result

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        """Make an error a finding: what else can be done and said is, and the report is made."""
        try:
            yield
        except Exception as error:
            self._findings.append(f"{what} came to no good end: {words(error)}.")

    def _play(self, pipeline: Pipeline, pool: ThreadPoolExecutor) -> None:
        """Make the faults, each track in a thread of its own, and tend the processes."""
        began = time.monotonic()
        playing = [pool.submit(self._play_track, track, began) for track in self._plan.values()]
        try:
            while not is_over(playing, began + self.seconds):
                pipeline.tend()
                time.sleep(TICK)
        finally:
            self._over.set()
        self._findings += leaks.open_files(pipeline.services)
        with self._noting("To count the sessions"), pipeline.connect() as connection:
            self._findings += leaks.sessions(connection)
        errors = [one.exception() for one in playing if one.done()]
        self._findings += [f"A fault could not be made: {words(error)}." for error in errors if error]
        endless = [fault.kind for fault in self._faults.happened if fault.ended == inf]
        self._findings += [f"The fault {kind!r} did not come to its end in {PATIENCE:.0f} s." for kind in endless]

    def _play_track(self, track: list[Fault], began: float) -> None:
        """Make the faults of a track at their times."""
        for fault in track:
            if self._over.wait(max(0.0, began + fault.at - time.monotonic())):
                return
            if (now := time.monotonic() - began) > self.seconds:  # those before took longer than they should
                return
            self.say(f"{now:7.1f} s  {fault.kind}")
            self._faults.make(fault)

    def _settle(self, pipeline: Pipeline) -> None:
        """Bring everything to its end, and account for it."""
        for what, step in pipeline.last_steps.items():
            with self._noting(what):
                step()
        pipeline.receiver.close()
        pipeline.behaviour.close()
        happened = self._faults.happened
        self._findings += misses(happened)
        self._findings += [sentence for end in pipeline.ends if (sentence := unexplained(end, happened))]
        self._findings += [f"{count:,} calls were {what}." for what, count in pipeline.behaviour.strange.items()]
        self.result.calls = pipeline.behaviour.counts
        with self._noting("The account"), pipeline.connect() as connection:
            self._findings += leaks.in_database(connection)
            with self._noting("To give the webhook up"):
                pipeline.drop_slot()
            self._findings += [*leaks.of_slots(connection), *leaks.in_files(pipeline)]
            evidence.collect(connection, pipeline.sources, pipeline.journal, pipeline.lake, happened)
            self._findings += account.findings(connection)
            self.result.figures = account.figures(connection)


def is_over(playing: Sequence[Future[None]], ends_at: float) -> bool:
    """Whether that time has come and every fault has ended, or does not end."""
    late = time.monotonic() - ends_at
    return late >= PATIENCE or (late >= 0 and all(one.done() for one in playing))


def words(error: BaseException) -> str:
    """An error within a sentence: of much that was said its beginning and its end."""
    said = f"{type(error).__name__}: {' '.join(str(error).split()).removesuffix('.')}"
    return said if len(said) <= 2 * MOST_CHARACTERS else f"{said[:MOST_CHARACTERS]} … {said[-MOST_CHARACTERS:]}"
