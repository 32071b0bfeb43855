"""From a packet and a tree to micro-tasks: `generate_plan`, `plan_as_text`. Contract: `micro-tasks.md`."""

from handshake.planning.generate import completes_by_verify_alone, generate_plan
from handshake.planning.rules import RuleFacts, check_definitions
from handshake.planning.show import plan_as_text
from handshake.planning.waves import waves_of
from handshake.source.project import SourceTree

__all__ = [
    "RuleFacts",
    "SourceTree",
    "check_definitions",
    "completes_by_verify_alone",
    "generate_plan",
    "plan_as_text",
    "waves_of",
]
