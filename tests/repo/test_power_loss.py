"""The power goes at any sync of a publish: what was not synced by then is gone, and the repository is still sound.

The disk is simulated as strictly as POSIX allows: of a file only the content of its last sync is left, of a folder
only the names of its last sync. `bench/durability.py` cuts the power of a real file system.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from handshake.repo.packs import clear_left_packs
from handshake.repo.store import ObjectStore, TrackingBranch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which file a handle is of")


class StrictDisk:
    """What of a folder survives, sync by sync."""

    def __init__(self, folder, images):
        self.folder, self.images = folder, images
        self.contents: dict[int, bytes] = {}
        self.names: dict[str, dict[str, int]] = {}
        self.taken = 0
        self.before = images / "before"
        shutil.copytree(folder, self.before, symlinks=True)
        self._real = os.fsync

    def fsync(self, handle):
        self._real(handle)
        place = Path(f"/proc/self/fd/{handle}").readlink()
        if place.is_dir():
            self.names[str(place)] = {entry.name: entry.stat().st_ino for entry in place.iterdir() if entry.is_file()}
        else:
            self.contents[os.fstat(handle).st_ino] = place.read_bytes()
        self.take()

    def take(self):
        """The disk as it is if the power goes now."""
        self.taken += 1
        image = self.images / f"{self.taken:02d}"
        shutil.copytree(self.before, image, symlinks=True)
        for place, names in self.names.items():
            target = image / os.path.relpath(place, self.folder)
            target.mkdir(parents=True, exist_ok=True)
            for old in [entry for entry in target.iterdir() if entry.is_file() and entry.name not in names]:
                old.unlink()
            for name, inode in names.items():
                file = target / name
                if inode in self.contents:
                    file.unlink(missing_ok=True)
                    file.write_bytes(self.contents[inode])
                elif not file.exists():
                    file.touch()  # the name is there, its content never was
        return image


@pytest.fixture
def begun(scratch, when):
    """A tracking branch with one commit, all of it on the disk."""
    branch = TrackingBranch(scratch.open(), "WP-1")
    first = branch.publish({"a": b"1", "jobs/x": b"x"}, message="one", when=when, expected=None)
    return branch, first


def look(scratch, image):
    """The image as a repository of its own."""
    place = image.with_name(f"{image.name}-checkout")
    place.mkdir()
    image.rename(place / ".git")
    scratch.git("fsck", "--strict", "--no-dangling", at=place)
    return scratch.git("rev-parse", "handshake/track/WP-1", at=place), place


def test_the_power_goes_at_any_sync(begun, scratch, when, tmp_path, monkeypatch):
    branch, first = begun
    (tmp_path / "images").mkdir()
    disk = StrictDisk(scratch.root / ".git", tmp_path / "images")
    monkeypatch.setattr(os, "fsync", disk.fsync)
    second = branch.publish({"a": b"2", "jobs/y": b"y" * 9000}, message="two", when=when, expected=first)
    monkeypatch.undo()
    assert disk.taken == 5  # pack, index, folder; ref, folder
    tips = []
    for image in sorted(disk.images.glob("[0-9]*")):
        tip, place = look(scratch, image)
        tips.append(tip)
        git_dir = place / ".git"
        clear_left_packs(git_dir / "objects" / "pack", git_dir / "handshake" / "locks")
        scratch.git("fsck", "--strict", "--no-dangling", at=place)
        scratch.git("gc", "-q", "--prune=now", at=place)
        assert scratch.git("rev-parse", "handshake/track/WP-1", at=place) == tip
    assert tips == [first] * 4 + [second]


def test_a_publish_that_did_not_sync_its_folder_would_be_noticed(begun, scratch, when, tmp_path, monkeypatch):
    """The simulation can fail: without the sync of the refs' folder the acknowledged commit is lost."""
    branch, first = begun
    (tmp_path / "images").mkdir()
    disk = StrictDisk(scratch.root / ".git", tmp_path / "images")
    monkeypatch.setattr(os, "fsync", disk.fsync)
    monkeypatch.setattr("handshake.repo.refs.sync_directory", lambda _: None)
    branch.publish({"a": b"2"}, message="two", when=when, expected=first)
    monkeypatch.undo()
    tip, _ = look(scratch, disk.take())
    assert tip == first


def test_a_pack_whose_ref_never_moved_is_only_garbage(begun, scratch, when, tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    disk = StrictDisk(scratch.root / ".git", tmp_path / "images")
    monkeypatch.setattr(os, "fsync", disk.fsync)
    store = ObjectStore(scratch.open())
    store.write_commit(parent=begun[1], base_tree=begun[1], changes={"b": b"b"}, message="m", when=when)
    monkeypatch.undo()
    tip, place = look(scratch, disk.take())
    assert tip == begun[1]
    packs = place / ".git" / "objects" / "pack"
    assert clear_left_packs(packs, place / ".git" / "handshake" / "locks") == 1
    assert list(packs.glob("*.keep")) == []
