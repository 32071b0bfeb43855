"""A cut made better: files move to the group that pulls them most, or two change places.

Kernighan and Lin's idea on many small groups. Contract: `micro-tasks.md`, Generation 3.
"""

from __future__ import annotations

from collections.abc import Iterator

from handshake.planning.groups import Edges, Groups

_MOST_ROUNDS = 6


def improve(groups: Groups, edges: Edges) -> None:
    """Move and exchange single files as long as less weight crosses; never down to a single group."""
    near: dict[str, dict[str, int]] = {path: {} for path in groups.files}
    for (one, other), weight in edges.items():
        near[one][other] = near[other][one] = weight
    for _ in range(_MOST_ROUNDS):
        moved = [path for path in sorted(groups.files) if _moved(path, groups, near)]
        if not moved:
            return


def _moved(path: str, groups: Groups, near: dict[str, dict[str, int]]) -> bool:
    """Whether the file found a better place."""
    home = groups.home[path]
    pulls = _pulls(path, groups, near)
    here = pulls.get(home, 0)
    for target in sorted(pulls, key=lambda one: (-pulls[one], one)):
        gain = pulls[target] - here
        if gain <= 0:
            return False
        if target == home:
            continue
        leaves_two = len(groups.members) > 2 or len(groups.members[home]) > 1
        if leaves_two and groups.fits(groups.members[target] | {path}):
            groups.move(path, target)
            return True
        for other in _exchanges(path, target, gain, groups, near):
            groups.move(path, target)
            groups.move(other, home)
            return True
    return False


def _exchanges(path: str, target: str, gain: int, groups: Groups, near: dict[str, dict[str, int]]) -> Iterator[str]:
    """Files of the target group whose place the file can take with a gain, if its own group lives on."""
    home = groups.home[path]
    if len(groups.members[home]) == 1:
        return
    for other in sorted(groups.members[target]):
        back = _pulls(other, groups, near)
        total = gain + back.get(home, 0) - back.get(target, 0) - 2 * near[path].get(other, 0)
        there, here = (groups.members[target] | {path}) - {other}, (groups.members[home] | {other}) - {path}
        if total > 0 and groups.fits(there) and groups.fits(here):
            yield other


def _pulls(path: str, groups: Groups, near: dict[str, dict[str, int]]) -> dict[str, int]:
    """The weight between a file and each group."""
    found: dict[str, int] = {}
    for other, weight in near[path].items():
        found[groups.home[other]] = found.get(groups.home[other], 0) + weight
    return found
