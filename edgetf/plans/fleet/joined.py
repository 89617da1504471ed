"""A reference made in ranges of whole batches by the workers of a scheduler, and joined: the bits of a single machine.

In: a model and samples, which only the driver reads. Out: a Computing. The first host by name leads: it finds what the
model takes, and measures latency and noise at the end. Every other one first computes the canary, which is the first
batch: if it differs, that host is refused, or its difference becomes part of the noise. Each takes range after range,
as long as it takes seconds; a range that is lost is done by another. Ranges are joined in their order into a Partial,
from which a killed driver resumes.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from edgetf.benchmarks.reference.backend import Performance
from edgetf.benchmarks.reference.batches import finish
from edgetf.benchmarks.reference.computing import Computing, Measured
from edgetf.benchmarks.reference.noise import MOST_ROWS, Way, compare_ways, rows_again
from edgetf.benchmarks.reference.options import ReferenceOptions
from edgetf.benchmarks.reference.partial import Partial
from edgetf.benchmarks.reference.probing import Habits
from edgetf.benchmarks.rows import Outputs
from edgetf.errors import Cause, DeviceError, EdgetfError
from edgetf.events import Note, OnEvent, Phase, Progress
from edgetf.owned import remove, scratch
from edgetf.plans.fleet.client import CPU, Connection, connected
from edgetf.plans.fleet.messages import Opened
from edgetf.plans.fleet.paths import root_of_links
from edgetf.plans.fleet.range_host import RangeHost, Work
from edgetf.results import Noise, Source
from edgetf.samples import Samples

_HEAD = 64  # samples, at least, that show what a model takes: the most that are computed at once
_ALONE_S = 20.0  # what the first host does in less time it does alone
_RANGE_S, _RANGE_BYTES = 5.0, 64 << 20  # of one range: what it takes, and what is sent of it
_AHEAD = 2  # ranges of a host at once: one is computed while the next one is sent
_LOSSES = 3  # of ranges, after which a host gets no more
_LOOK_S = 5.0  # between two looks for other workers
_CLOSE_S = 5.0


@contextmanager
def joined(
    saved_model: Path, source: Source, samples: Samples, options: ReferenceOptions, on_event: OnEvent
) -> Iterator[Computing]:
    """Compute on the hosts that `options` name. Raises EdgetfError for a scheduler that cannot be reached, and
    DeviceError if no worker computes references."""
    hosts = options.hosts
    assert hosts is not None
    root = root_of_links(saved_model)
    head = min(len(samples), -(-max(_HEAD, samples.batch) // samples.batch) * samples.batch)
    work = Work(Path(source.path).name, root, samples, options, head)
    with connected(hosts.scheduler, None if hosts.certificates is None else Path(hosts.certificates)) as connection:
        role = connection.role_for_references(options.on.value)
        connection.wait_for(role, "computes references (--convert, or --gpu)")
        team = _Team(connection, role, work, hosts.mixed, on_event)
        try:
            yield _Joined(team, source)
        finally:
            team.close()


class _Team:
    """The hosts: `lead`, and all that compute the same. Those that do not are in `unlike` if they may be mixed."""

    def __init__(self, connection: Connection, role: str, work: Work, mixed: bool, on_event: OnEvent) -> None:
        self.connection, self.role, self.work, self.mixed, self.on_event = connection, role, work, mixed, on_event
        self.unlike: list[RangeHost] = []
        self._hosts: dict[str, RangeHost] = {}
        self._met: set[str] = set()  # those that were asked whether they can
        self.lead, self.opened = self._find_lead()
        self.equal = [self.lead]
        on_event(Phase(f"{self.opened.device.sentence.split(',')[0]}, on {self.lead.name}"))
        if mixed:  # before the first range: what is resumed depends on who they are
            for host in self.others():
                self.accept(host)

    def _find_lead(self) -> tuple[RangeHost, Opened]:
        """The first by name that can load the model."""
        names = self.connection.offering(self.role)
        for name in names[1:] if len(self.work.samples) > self.work.head else ():
            threading.Thread(target=self._host(name).load, daemon=True).start()
        for name in names:
            self.on_event(Phase(f"loading the model on {name}"))
            host = self._meet(name)
            try:
                return host, host.open(None)
            except DeviceError as error:
                if name == names[-1]:
                    raise
                self.on_event(Note(f"{name} is not used: {error.message}"))
        raise DeviceError(f"{self.connection.address} has no worker that computes references", "", Cause.LOST)

    def _host(self, name: str) -> RangeHost:
        if name not in self._hosts:
            self._hosts[name] = RangeHost(self.connection, name, (self.role, CPU), self.work)
        return self._hosts[name]

    def _meet(self, name: str) -> RangeHost:
        self._met.add(name)
        return self._host(name)

    def others(self) -> list[RangeHost]:
        """Workers that have come and were not asked before."""
        fresh = [name for name in self.connection.offering(self.role) if name not in self._met]
        return [self._meet(name) for name in fresh]

    def accept(self, host: RangeHost) -> bool:
        """Whether a host may take ranges: it computes the same canary, or may differ. Notes why it may not."""
        try:
            why = _difference(self.opened, host.open(self.opened.habits), self.lead.name)
        except EdgetfError as error:
            self.on_event(Note(f"{host.name} is not used: {error.message}"))
            return False
        if why is None:
            self.equal.append(host)
        elif self.mixed:
            self.on_event(Note(f"{host.name} {why}: the difference is part of the noise"))
            self.unlike.append(host)
        else:
            self.on_event(Note(f"{host.name} is not used: it {why}; --mixed-hosts uses it, with more noise"))
        return why is None or self.mixed

    def close(self) -> None:
        """End all sessions, as far as the workers answer."""
        threads = [threading.Thread(target=host.close, daemon=True) for host in self._hosts.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_CLOSE_S)


def _difference(lead: Opened, other: Opened, name: str) -> str | None:
    """What makes the results of another host differ from the lead's; None if nothing does."""
    ours, theirs = lead.versions["tensorflow"], other.versions["tensorflow"]
    if ours != theirs:
        return f"has TensorFlow {theirs}, {name} has {ours}"
    if lead.precision != other.precision:
        return f"computes in another precision than {name}: {other.precision}, there {lead.precision}"
    if lead.canary != other.canary:
        names = ", ".join(sorted(one for one in lead.canary if lead.canary[one] != other.canary.get(one)))
        return f"computes {names} with other bits than {name} ({other.device.name}; {lead.device.name})"
    return None


class _Joined:
    """The Computing."""

    def __init__(self, team: _Team, source: Source) -> None:
        self._team, self._source = team, source
        self._used: set[str] = set()  # the names of hosts whose ranges were joined

    @property
    def habits(self) -> Habits:
        return self._team.opened.habits

    @property
    def decisive(self) -> tuple[str, ...]:
        """The digests of the canary, and of all that may be mixed."""
        found = [one.opened for one in (self._team.lead, *self._team.unlike) if one.opened is not None]
        versions = sorted({json.dumps([one.versions["tensorflow"], one.canary], sort_keys=True) for one in found})
        return "joined", *versions

    def run(self, begun: Partial, on_event: OnEvent) -> None:
        with scratch() as folder:
            run = _Run(self._team, begun, folder)
            run.until_joined(on_event)
            self._used |= run.used

    def measure(self, known: Outputs, on_event: OnEvent) -> Measured:
        habits = replace(self.habits, unbatched=tuple(sorted(known.unbatched)), unclear=())
        host, performance = self._measured(habits, on_event)
        assert host.opened is not None
        noise = tuple(one for other in self._team.unlike for one in self._noise(host, other, habits, on_event))
        names = sorted(self._used) or [host.name]
        device, hosts = host.opened.device, f"{'hosts' if len(names) > 1 else 'host'} {', '.join(names)}"
        device = replace(device, sentence=f"{device.sentence}; outputs by the {hosts}")
        found = replace(performance, noise=performance.noise + noise)
        return Measured(found, device, host.opened.precision, host.opened.versions)

    def _measured(self, habits: Habits, on_event: OnEvent) -> tuple[RangeHost, Performance]:
        """Latency and noise of the lead, or, if it is lost, of a host that computes the same."""
        n, batch = len(self._team.work.samples), habits.batch
        count = min(n, -(-MOST_ROWS // batch) * batch)
        lost: DeviceError | None = None
        for host in self._team.equal:
            try:
                on_event(Phase(f"measuring latency and noise on {host.name}"))
                return host, host.measure(count, habits)
            except DeviceError as error:
                lost = error
        raise lost or DeviceError("there is no host", "run the same command again: it resumes", Cause.LOST)

    def _noise(self, lead: RangeHost, other: RangeHost, habits: Habits, on_event: OnEvent) -> tuple[Noise, ...]:
        """How far another host is from the lead, on the first samples."""
        rows = rows_again(len(self._team.work.samples), habits.batch)
        with scratch() as folder:

            def outputs(host: RangeHost) -> Outputs:
                part = host.rows(0, rows, habits, folder / host.name)
                (out := folder / f"{host.name}-out").mkdir()
                return finish(part, habits, self._source, out)[1]

            assert other.opened is not None
            way = Way(f"on {other.name} ({other.opened.device.name})", lambda: outputs(other))
            return compare_ways([way], outputs(lead), rows, (), on_event)


@dataclass(frozen=True)
class _Span:
    """The samples from `begin` to before `end`."""

    begin: int
    end: int


class _Run:
    """Ranges that are handed out, come back, and are joined in their order. Hosts have threads; one joins."""

    def __init__(self, team: _Team, begun: Partial, folder: Path) -> None:
        self._team, self._begun, self._folder = team, begun, folder
        self._n, self._batch = len(team.work.samples), team.opened.habits.batch
        self._next = self._joined()  # the first sample that nobody has taken
        self._returned: list[_Span] = []  # of hosts that were lost
        self._parts: dict[int, Partial] = {}  # what waits to be joined, by its first sample
        self._done = self._next  # samples whose outputs are here
        self._losses: Counter[str] = Counter()  # one after another, by host
        self._threads, self._last_loss = 0, ""
        self._error: list[Exception] = []
        self._changed = threading.Condition()
        self.used: set[str] = set()

    def until_joined(self, on_event: OnEvent) -> None:
        """Let hosts compute, and join what comes. Raises their error, and DeviceError if none is left."""
        for host in (*self._team.equal, *self._team.unlike):
            self._enlist(host)
        looked = -_LOOK_S
        while (joined := self._joined()) < self._n:
            if monotonic() - looked >= _LOOK_S and self._is_long():
                looked = monotonic()
                for host in self._team.others():
                    self._start(self._try, host)
            part = self._await_part(joined)
            if part is not None:
                self._begun.extend(part)
                remove(part.folder)
            on_event(Progress(self._done, self._n))

    def _joined(self) -> int:
        return self._begun.progress.done if self._begun.progress else 0

    def _is_long(self) -> bool:
        """Whether other hosts would be of use: the lead would take longer than they take to load the model."""
        return (self._n - self._done) * self._team.lead.sample_s > _ALONE_S

    # hosts ------------------------------------------------------------------------------------------------------------

    def _start(self, act: Callable[[RangeHost], None], host: RangeHost) -> None:
        """Run `act` in a thread; what it raises ends the run."""

        def run() -> None:
            try:
                act(host)
            except Exception as error:
                with self._changed:
                    self._error.append(error)
            finally:
                with self._changed:
                    self._threads -= 1
                    self._changed.notify_all()

        with self._changed:
            self._threads += 1
        threading.Thread(target=run, daemon=True).start()

    def _try(self, host: RangeHost) -> None:
        if self._team.accept(host):
            self._enlist(host)

    def _enlist(self, host: RangeHost) -> None:
        for _ in range(_AHEAD):
            self._start(self._serve, host)

    def _serve(self, host: RangeHost) -> None:
        """Let a host compute range after range, until all are there, or it is lost too often."""
        while (span := self._take(host)) is not None:
            place = self._folder / f"{host.name}-{span.begin}"
            try:
                part = host.rows(span.begin, span.end, self._team.opened.habits, place)
            except DeviceError as error:
                remove(place)
                self._give_back(host, span, error)
            else:
                self._deliver(host, span, part)

    # ranges -----------------------------------------------------------------------------------------------------------

    def _take(self, host: RangeHost) -> _Span | None:
        """The next range for a host; None if there is nothing to do any more. Waits while others may be lost."""
        with self._changed:
            while not self._error and self._losses[host.name] < _LOSSES and self._done < self._n:
                if self._returned:
                    return self._returned.pop(0)
                if self._next < self._n:
                    span = _Span(self._next, min(self._n, self._next + self._size(host)))
                    self._next = span.end
                    return span
                self._changed.wait()
        return None

    def _size(self, host: RangeHost) -> int:
        """How many samples a host gets: whole batches for some seconds; fewer near the end: all end together."""
        inputs = sum(values.nbytes // self._n for values in self._team.work.samples.inputs.values())
        sample_bytes = inputs + self._team.opened.bytes // min(self._batch, self._n)
        fair = (self._n - self._next) / (2 * self._threads)
        most = min(_RANGE_S / max(host.sample_s, 1e-9), _RANGE_BYTES / max(sample_bytes, 1), fair)
        return max(1, int(most // self._batch)) * self._batch

    def _deliver(self, host: RangeHost, span: _Span, part: Partial) -> None:
        with self._changed:
            self._parts[span.begin] = part
            self._done += span.end - span.begin
            self._losses.pop(host.name, None)
            self.used.add(host.name)
            self._changed.notify_all()

    def _give_back(self, host: RangeHost, span: _Span, error: DeviceError) -> None:
        with self._changed:
            self._returned.append(span)
            self._losses[host.name] += _LOSSES if error.cause is Cause.UNFIT else 1
            is_over, self._last_loss = self._losses[host.name] >= _LOSSES, error.message
            self._changed.notify_all()
        what = "is not used any more" if is_over else "is tried again"
        self._team.on_event(Note(f"{host.name} {what}: {error.message}"))

    def _await_part(self, begin: int) -> Partial | None:
        """The part that is to be joined next; None if it has not come within a second."""
        with self._changed:
            if begin not in self._parts and not self._error and self._threads:
                self._changed.wait(1.0)
            if self._error:
                raise self._error[0]
            if begin not in self._parts and not self._threads:
                hint = "start workers again: edgetf worker; the same command resumes"
                raise DeviceError(f"no host is left that computes: {self._last_loss}", hint, Cause.LOST)
            return self._parts.pop(begin, None)
