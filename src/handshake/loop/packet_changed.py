"""Whether the packet on the disk still asks for what its run was told. Contract: `packets-and-gates.md`."""

from __future__ import annotations

from handshake.domain.errors import HandshakeError
from handshake.domain.packet_text import read_packet
from handshake.loop.run import Run
from handshake.repo.packet_file import read_packet_file

_PARTS = {
    "what": "What",
    "in_scope_paths": "IN_SCOPE_PATHS",
    "out_of_scope": "OUT_OF_SCOPE",
    "done_means": "DONE_MEANS",
    "test_plan": "TEST_PLAN",
    "risk_tier": "RISK_TIER",
    "execution_policy": "EXECUTION_POLICY",
}


def changed_parts(run: Run) -> tuple[str, ...]:
    """The parts of the packet that ask for other work now than when the job began; status and evidence ask for none.

    A packet that is gone, or cannot be read, asks for nothing: `handshake check` says what is wrong with it.
    """
    path = run.job.workspace.packet_path
    try:
        data = read_packet_file(run.around.repo.root, path)
    except HandshakeError:
        return ()
    if data is None or data == run.packet:
        return ()
    was, now = read_packet(run.packet, path).packet, read_packet(data, path).packet
    if was is None or now is None:
        return ()
    return tuple(said for name, said in _PARTS.items() if getattr(was, name) != getattr(now, name))
