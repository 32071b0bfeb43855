"""Watch packets, configuration and tracking refs, and run what is ready. Contract: `interface.md`, `daemon`.

Events only make the look come sooner; a look every few seconds finds what an event missed. The process stays small:
what needs large libraries (a run, recovery, a scan for secrets) is done by processes that end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from handshake.daemon.bulletin import Bulletin, Waiting, daemon_lock, write_bulletin
from handshake.daemon.candidates import Candidate
from handshake.daemon.children import Children
from handshake.daemon.doorbell import Doorbell
from handshake.daemon.folder import BURST_S, Look, PacketFolder
from handshake.daemon.live_settings import LiveSettings
from handshake.daemon.notice import Notice
from handshake.daemon.patience import Patience
from handshake.daemon.refusals import Refusal, RefusalRecords
from handshake.daemon.turns import Wait, turns
from handshake.domain.errors import ExitCode, LockHeld
from handshake.domain.settings import Settings
from handshake.loop.exchange import fetch_decisions
from handshake.loop.surroundings import Surroundings
from handshake.repo.locks import RunLock, living_owner
from handshake.repo.remote import Errand

RESCAN_S = 5.0
# a look at very many packets takes its time: it is not taken so often that it takes more than a 2000th of all time
RESCAN_SHARE = 2000
LONGEST_RESCAN_S = 30.0
TICK_S = 0.2
FETCH_S = 10.0


@dataclass(frozen=True)
class Means:
    """What the daemon is given: how it speaks, how it reads its configuration again, what its runs are told.

    `config_files` are read beside the repository's own.
    """

    say: Callable[[str], None]
    read_settings: Callable[[], Settings]
    run_options: tuple[str, ...] = ()
    config_files: tuple[Path, ...] = ()


class Daemon:
    """Supervises runs as child processes. Killing it loses nothing: children commit what they do."""

    def __init__(self, around: Surroundings, means: Means, children: Children | None = None) -> None:
        self._around = around
        self._means = means
        self._folder = PacketFolder(around)
        self._children = children or Children(around.repo.root, means.run_options)
        self._started: dict[str, Candidate] = {}
        self._patience = Patience()
        self._recorded: dict[str, str] = {}
        self._refusals = RefusalRecords(around.repo.state_dir)
        self._said: dict[str, str] = {}
        self._said_by_run: set[str] = set()
        self._stop = threading.Event()
        self._bell = Doorbell()
        self._next_look = 0.0
        self._burst_since: float | None = None
        self._bulletin = Bulletin()
        self._fetch = Errand(
            lambda: fetch_decisions(self._around, self._to_fetch),
            lambda why: means.say(f"{around.settings.tracking.remote}: {why}"),
        )
        self._next_fetch = 0.0
        self._to_fetch: tuple[str, ...] = ()
        own = around.repo.root / ".handshake" / "config.yaml"
        self._config = LiveSettings((own, *means.config_files), means.read_settings)

    def stop(self) -> None:
        """Leave at the next chance; the runs are asked to end, and can be resumed."""
        self._stop.set()
        self._bell.ring()

    # -- the two ways to work ----------------------------------------------------------------------

    def run_once(self) -> int:
        """Run what is there now, each packet once, then leave.

        Returns:
            the exit code of the last run that did not end well, else 0.
        """
        self._folder.settle_s = 0.0
        worst, ran = 0, set[str]()
        with self._alone():
            self._recover()
            while not self._stop.is_set():
                for code in self._reap():
                    worst = code or worst
                look = self._folder.look(self._children.running)
                ready = [c for c in self._ready(look) if c.wp_id not in ran]
                if not ready and not self._children.running:
                    break
                ran.update(self._start(ready))
                self._stop.wait(0.02)
        return worst

    def run_forever(self) -> int:
        """Watch until told to stop. Returns 0."""
        with self._alone():
            self._folder.path.mkdir(parents=True, exist_ok=True)
            self._say(f"watching {self._around.settings.paths.packets}; Ctrl-C ends, nothing is lost")
            self._recover()
            while not self._stop.is_set():
                try:
                    self._watch()
                except FileNotFoundError:
                    self._stop.wait(RESCAN_S / 10)  # a folder was taken away as it was to be watched
        return 0

    def _watch(self) -> None:
        """Look at every change and every few seconds, until the folders to watch are others."""
        self._folder.path.mkdir(parents=True, exist_ok=True)
        places = self._places()
        polling = self._around.settings.daemon.polling
        with Notice(list(places), self._bell, self._stop, polling=polling, relevant=self._matters) as notice:
            self._next_look = 0.0  # what happened before these folders were watched
            while not self._stop.is_set():
                if self._tick() and (self._places() != places or polling != self._around.settings.daemon.polling):
                    return
                left = max(self._next_look - self._now(), 0.0)
                busy = bool(self._children.running) or self._refusals.go_on()
                if notice.wait(min(left, TICK_S) if busy else left):
                    self._next_look = 0.0

    def _places(self) -> dict[Path, int]:
        """The folders to watch, each with what tells it from another of that name."""
        return {place: place.stat().st_ino for place in (*self._folder.watched(), *self._config.folders)}

    def _matters(self, path: str) -> bool:
        """Git's lock files and editors' temporary files are noise, and so is what our own runs publish."""
        return not path.endswith((".lock", ".swp", "~", ".tmp")) and Path(path).name not in self._children.running

    def _tick(self) -> bool:
        """Reap, and look if it is time to. Whether there was a look."""
        if self._reap():
            self._next_look = 0.0
        began = self._now()
        if began < self._next_look:
            return False
        self._read_config()
        look = self._folder.look(self._children.running)
        self._start(self._ready(look))
        self._ask_remote(look)
        rescan = min(max(RESCAN_S, RESCAN_SHARE * (self._now() - began)), LONGEST_RESCAN_S)
        pauses = [rescan, look.settles_in, self._patience.next_due(self._now())]
        pauses.append(0.5 if self._bulletin.adopted else None)
        self._next_look = self._now() + min(max(pause, 0.0) for pause in pauses if pause is not None)
        return True

    # -- what is ready -----------------------------------------------------------------------------

    def _ready(self, look: Look) -> list[Candidate]:
        """Packets that may run now; refusals and waits are said once for each content."""
        now = self._now()
        if look.settles_in is None:
            self._burst_since = None
        elif self._burst_since is None:
            self._burst_since = now
        in_burst = self._burst_since is not None and now - self._burst_since < BURST_S
        ready, refused = [], {}
        for found in look.candidates:
            if found.state in ("refused", "wait", "elsewhere"):
                self._say_once(found)
            if found.state == "refused":
                refused[found.wp_id] = found.why
                self._record(found)
            held = found.wp_id in self._children.running or not self._patience.allows(found, now)
            if found.state == "run" and not held and (found.resumes or not in_burst):
                ready.append(found)
        self._bulletin = self._bulletin.model_copy(update={"refused": refused})
        return [] if self._config.trouble else ready

    def _start(self, ready: list[Candidate]) -> list[str]:
        """Start whose turn it is; say who waits for whom, and make known how things stand."""
        adopted = self._adopted(ready)
        running = {name: self._started[name].scope for name in self._children.running}
        free = [found for found in ready if found.wp_id not in adopted]
        running |= {found.wp_id: found.scope for found in ready if found.wp_id in adopted}
        places = self._around.settings.daemon.max_parallel - len(running)
        starts, waits = turns(free, running, places)
        for found in starts if not self._stop.is_set() else ():
            self._say(f"{found.wp_id}: {'resuming' if found.resumes else 'starting'}")
            self._started[found.wp_id] = found
            self._said_by_run.discard(found.wp_id)
            self._children.start(found.wp_id)
        self._make_known(adopted, waits)
        return [found.wp_id for found in starts]

    def _adopted(self, ready: list[Candidate]) -> list[str]:
        """Runs that go on in a process that is not ours: left by a killed daemon, or started by hand."""
        locks, found = self._around.repo.state_dir / "locks", []
        for candidate in ready:
            beat = living_owner(locks / f"{candidate.wp_id}.lock", self._around.clock)
            if beat is not None:
                found.append(candidate.wp_id)
                self._once(f"{candidate.wp_id}/owner", f"{candidate.wp_id} goes on in process {beat.pid}: adopted")
        return found

    def _reap(self) -> list[int]:
        """The exit codes of the runs that ended since; a failed one is held back for a while."""
        ended = self._children.reap()
        for one in ended:
            if one.code == ExitCode.WAITS_FOR_HUMAN:
                self._said_by_run.add(one.wp_id)
            remark = self._patience.ended(self._started.pop(one.wp_id), one.code, self._now())
            if remark and not self._stop.is_set():
                self._say(remark)
        return [one.code for one in ended]

    def _recover(self) -> None:
        """What was interrupted is put right before anything new begins."""
        look = self._folder.look()
        found = [c for c in look.candidates if c.state == "run" and c.resumes]
        adopted = self._adopted(found)
        if all(candidate.wp_id in adopted for candidate in found):
            return
        child = self._children.recover()
        while child.poll() is None and not self._stop.wait(0.02):
            pass
        if child.poll() is None:
            child.terminate()
            child.wait()
        elif child.returncode == 0:
            names = ", ".join(candidate.wp_id for candidate in found if candidate.wp_id not in adopted)
            self._say(f"what was interrupted is put right: {names}")

    def _ask_remote(self, look: Look) -> None:
        """Fetch decisions for what waits or runs, where tracking branches are shared."""
        now = self._now()
        if not self._around.settings.tracking.push or now < self._next_fetch or not self._fetch.idle:
            return
        self._to_fetch = tuple(found.wp_id for found in look.candidates if found.state in ("wait", "run", "refused"))
        if self._to_fetch:
            self._next_fetch = now + FETCH_S
            self._fetch.ask()

    # -- configuration -----------------------------------------------------------------------------

    def _read_config(self) -> None:
        """Take a changed configuration over; while it cannot be used, nothing new is started."""
        settings = self._config.changed()
        if self._config.trouble is not None:
            self._once("config", f"nothing is started: {self._config.trouble}")
        if settings is None:
            return
        self._said.pop("config", None)
        if settings != self._around.settings:
            self._around = replace(self._around, settings=settings)
            self._folder.around = self._around
            self._say("the configuration was read again")
        self._folder.forget()
        self._patience.forget()

    # -- saying it ---------------------------------------------------------------------------------

    def _say_once(self, found: Candidate) -> None:
        """A state that a person should know of; a gate that a run of ours just said is not said again."""
        name, why = found.wp_id, found.why
        key = f"{found.state}:{found.content_hash}:{why}"
        if found.state == "wait" and name in self._said_by_run:
            self._said_by_run.discard(name)
            self._said[name] = key
        line = {
            "wait": f"{name} waits for a human ({why}): handshake decide {name} …",
            "refused": f"{name} is refused\n{why}",
            "elsewhere": f"{name} was begun in another clone: {why}",
        }[found.state]
        self._once(name, line, key)

    def _record(self, found: Candidate) -> None:
        """A refused packet is on record, once for each content; one that runs is recorded by its run."""
        key = f"{found.content_hash}:{found.why}"
        if self._recorded.get(found.wp_id) == key:
            return
        self._recorded[found.wp_id] = key
        path = f"{self._around.settings.paths.packets}/{found.wp_id}.md"
        if (self._around.repo.root / path).is_file():
            self._refusals.add(Refusal(found.wp_id, path, found.content_hash, found.why.splitlines()[0]))

    def _once(self, about: str, line: str, key: str = "") -> None:
        if self._said.get(about) != (key or line):
            self._said[about] = key or line
            self._say(line)

    def _make_known(self, adopted: list[str], waits: tuple[Wait, ...]) -> None:
        for wait in waits:
            if wait.path is not None:
                self._once(f"{wait.wp_id}/turn", wait.line())
        bulletin = Bulletin(
            running=tuple(sorted(self._children.running)),
            adopted=tuple(sorted(adopted)),
            waiting=tuple(Waiting(wp_id=w.wp_id, behind=w.behind, path=w.path) for w in waits),
            refused=self._bulletin.refused,
        )
        if bulletin != self._bulletin:
            self._bulletin = bulletin
            try:
                write_bulletin(self._around.repo, bulletin)
            except OSError as error:  # a full disk: what is shown is late, what is done is not
                self._once("bulletin", f"cannot make known how things stand: {error}")

    def _say(self, text: str) -> None:
        self._means.say(text)

    def _now(self) -> float:
        return self._around.clock.monotonic()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the one daemon of this repository; at the end the runs are ended, and can be resumed."""
        lock = RunLock(daemon_lock(self._around.repo), self._around.clock)
        try:
            lock.acquire()
        except LockHeld as held:
            who = held.what.partition(" holds ")[0]
            raise LockHeld(
                f"another daemon watches {self._around.repo.root}: {who}", next_step="handshake status"
            ) from None
        try:
            write_bulletin(self._around.repo, self._bulletin)
            yield
        finally:
            self._children.end()
            self._refusals.finish()
            lock.release()
            self._bell.close()
