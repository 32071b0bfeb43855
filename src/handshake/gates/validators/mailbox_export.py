"""`mailbox-export`: `docs/ROLE_MAILBOX/` as the profile's export form, in sync and without a message's body."""

from __future__ import annotations

import json
import re
from typing import Any

from handshake.domain.canonical import sha256_hex
from handshake.domain.packet import Finding
from handshake.domain.packet_fields import Remarks
from handshake.gates.validators.view import View

FOLDER = "docs/ROLE_MAILBOX"
SCHEMA = "role_mailbox_export_v1"
_BODIES = frozenset({"body", "body_text", "raw_body", "content", "text", "message"})
_ROLES = frozenset({"operator", "orchestrator", "coder", "validator"})
_TYPES = frozenset(
    {
        "clarificationrequest",
        "clarificationresponse",
        "scoperisk",
        "scopechangeproposal",
        "scopechangeapproval",
        "waiverproposal",
        "waiverapproval",
        "validationfinding",
        "handoff",
        "blocker",
        "toolingrequest",
        "toolingresult",
        "fyi",
    }
)
# what decides something must be written down where it counts
_NEEDS_LINK = frozenset({"scopechangeapproval", "waiverapproval", "validationfinding"})
_FIELDS = {
    "message_id": str,
    "thread_id": str,
    "created_at": str,
    "from_role": str,
    "to_roles": list,
    "message_type": str,
    "body_ref": str,
    "body_sha256": str,
    "attachments": list,
    "transcription_links": list,
    "idempotency_key": str,
}
_ADVISORY = re.compile(r"advisory(?:[:(/].+)?", re.IGNORECASE)


def validate(view: View) -> list[Finding]:
    """Findings on manifest, index and threads; none where there is no mailbox."""
    files = [path for path in view.paths if path.startswith(f"{FOLDER}/")]
    if not files:
        return []
    findings: list[Finding] = []
    manifest_path = f"{FOLDER}/export_manifest.json"
    manifest = _json(view, manifest_path, findings)
    index = _json(view, f"{FOLDER}/index.json", findings)
    if isinstance(manifest, dict):
        findings += _manifest(view, manifest, files)
    if isinstance(index, dict):
        findings += _index(index)
    for path in files:
        if path.startswith(f"{FOLDER}/threads/"):
            findings += _thread(view, path)
    return findings


def _json(view: View, path: str, findings: list[Finding]) -> Any:
    remarks = Remarks(path)
    data = view.read(path)
    value = None
    if data is None:
        remarks.error("HSK-VAL-MAILBOX", None, "it is missing", "export the mailbox again")
    elif not data.isascii():
        remarks.error("HSK-VAL-MAILBOX", None, "it is not ASCII JSON", "write \\uXXXX for other characters")
    else:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            remarks.error("HSK-VAL-MAILBOX", None, f"it is no JSON: {error}", "export the mailbox again")
        else:
            if not isinstance(value, dict) or value.get("schema_version") != SCHEMA:
                remarks.error("HSK-VAL-MAILBOX", None, f"schema_version is not {SCHEMA}", "export the mailbox again")
            for name in sorted(_body_keys(value)):
                remarks.error("HSK-VAL-MAILBOX-BODY", None, f"it holds `{name}`", "a body is an artifact: body_ref")
    findings += remarks.findings
    return value


def _manifest(view: View, manifest: dict[str, Any], files: list[str]) -> list[Finding]:
    remarks = Remarks(f"{FOLDER}/export_manifest.json")
    stale = "export the mailbox again"
    rows = [row for row in manifest.get("thread_files", []) if isinstance(row, dict)]
    named = {"index.json": str(manifest.get("index_sha256", ""))}
    named |= {str(row.get("path", "")): str(row.get("sha256", "")) for row in rows}
    for name, digest in named.items():
        data = view.read(f"{FOLDER}/{name}") if ".." not in name else None
        if data is None:
            remarks.error("HSK-VAL-MAILBOX", None, f"{name} is not there", stale)
        elif sha256_hex(data) != digest.lower():
            remarks.error("HSK-VAL-MAILBOX-HASH", None, f"the hash of {name} does not fit", stale)
    for path in files:
        name = path.removeprefix(f"{FOLDER}/")
        if name.startswith("threads/") and name not in named:
            remarks.error("HSK-VAL-MAILBOX", None, f"{name} is not in the manifest", stale)
    for row in rows:
        data = view.read(f"{FOLDER}/{row.get('path')}")
        if data is not None and len(data.splitlines()) != row.get("message_count"):
            remarks.error("HSK-VAL-MAILBOX", None, f"message_count of {row.get('path')} does not fit", stale)
    return remarks.findings


def _index(index: dict[str, Any]) -> list[Finding]:
    remarks = Remarks(f"{FOLDER}/index.json")
    for thread in index.get("threads", []):
        roles = thread.get("participants", []) if isinstance(thread, dict) else []
        for role in roles:
            if not _is_role(role):
                remarks.error(
                    "HSK-VAL-MAILBOX-ROLE", None, f"`{role}` is no role", f"one of {', '.join(sorted(_ROLES))}"
                )
    return remarks.findings


def _thread(view: View, path: str) -> list[Finding]:
    remarks = Remarks(path)
    data = view.read(path) or b""
    if not data.isascii():
        remarks.error("HSK-VAL-MAILBOX", None, "it is not ASCII JSON", "write \\uXXXX for other characters")
    for number, line in enumerate(data.decode("utf-8", errors="replace").splitlines()):
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            remarks.error("HSK-VAL-MAILBOX", number, "the line is no JSON", "export the mailbox again")
            continue
        if not isinstance(message, dict):
            remarks.error("HSK-VAL-MAILBOX", number, "the line is no message", "export the mailbox again")
            continue
        _message(message, number, remarks)
    return remarks.findings


def _message(message: dict[str, Any], number: int, remarks: Remarks) -> None:
    for name in sorted(_body_keys(message)):
        remarks.error("HSK-VAL-MAILBOX-BODY", number, f"it holds `{name}`", "a body is an artifact: body_ref")
    for name, kind in _FIELDS.items():
        if not isinstance(message.get(name), kind):
            remarks.error("HSK-VAL-MAILBOX", number, f"{name} is missing or of the wrong type", "export it again")
    to_roles = message.get("to_roles")
    roles = [message.get("from_role"), *(to_roles if isinstance(to_roles, list) else [])]
    for role in roles:
        if role is not None and not _is_role(role):
            remarks.error(
                "HSK-VAL-MAILBOX-ROLE", number, f"`{role}` is no role", f"one of {', '.join(sorted(_ROLES))}"
            )
    kind_of = str(message.get("message_type", "")).replace("_", "").casefold()
    if kind_of and kind_of not in _TYPES:
        remarks.error(
            "HSK-VAL-MAILBOX-TYPE", number, f"`{message['message_type']}` is no message type", "see the profile"
        )
    if kind_of in _NEEDS_LINK and not message.get("transcription_links"):
        what = f"a {message['message_type']} without a transcription link"
        remarks.error("HSK-VAL-MAILBOX-LINK", number, what, "link what was written down, and where")


def _is_role(role: object) -> bool:
    return isinstance(role, str) and (role.casefold() in _ROLES or bool(_ADVISORY.fullmatch(role)))


def _body_keys(value: Any) -> set[str]:
    """The names of message bodies at any depth; what is nested deeply is no reason to fail."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            found |= item.keys() & _BODIES
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return found
