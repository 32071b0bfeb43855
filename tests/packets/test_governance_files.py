"""Refinements, registries and signature logs are read in the forms that real projects write."""

from __future__ import annotations

from handshake.domain.refinement import read_refinement
from handshake.domain.registry import RegistryEntry, active_packets, read_registry, wp_ids_in
from handshake.domain.signature_audit import read_signature_audit, uses_of
from handshake.gates.spec import specs_named

LONG_FORM = """## TECHNICAL_REFINEMENT (MASTER SPEC)
### METADATA
- WP_ID: WP-1-Demo-v1
- SPEC_TARGET_RESOLVED: docs/SPEC_CURRENT.md -> Master_Spec_v02.115.md
- SPEC_TARGET_SHA1: 61E500454062BACBE70578ADA7989286C0742973
- USER_REVIEW_STATUS: APPROVED
- USER_SIGNATURE: ada220120260926
### CLEARLY_COVERS (5-point checklist)
- Appears in Main Body: [x] PASS
- Explicitly named: [X] PASS
- Specific: [x] FAIL
- Measurable acceptance criteria: [ ] PASS
- No ambiguity: [x] PASS
- CLEARLY_COVERS_VERDICT: PASS
### ENRICHMENT
- ENRICHMENT_NEEDED: NO
- REASON_NO_ENRICHMENT: It is all there.
### SPEC_ANCHORS (REQUIRED: one or more)
#### ANCHOR 1
- SPEC_ANCHOR: Master_Spec_v02.115.md 2.6.6.8 (Profile)
- CONTEXT_START_LINE: 9381
- CONTEXT_END_LINE: 9393
- CONTEXT_TOKEN: #### 2.6.6.8 Profile: short
- EXCERPT_ASCII_ESCAPED:
  ```text
  - CONTEXT_TOKEN: not this
  ```
#### ANCHOR 2
- SPEC_ANCHOR: 2.6.6.9
- CONTEXT_START_LINE: 1abc
- CONTEXT_END_LINE: 9
- CONTEXT_TOKEN: x
"""


def test_the_long_form_of_a_refinement_is_read() -> None:
    reading = read_refinement(LONG_FORM.encode(), "r.md")
    found = reading.refinement
    assert (found.wp_id, found.spec_target, found.spec_file) == (
        "WP-1-Demo-v1",
        "docs/SPEC_CURRENT.md",
        "Master_Spec_v02.115.md",
    )
    assert found.spec_sha1 == "61e500454062bacbe70578ada7989286c0742973"
    assert (found.is_approved, found.user_signature) == (True, "ada220120260926")
    assert found.covers == (True, True, False, False, True)
    assert (found.enrichment_needed, found.enrichment_reason) == (False, "It is all there.")
    [anchor] = found.anchors
    assert (anchor.spec_file, anchor.start, anchor.end, anchor.token) == (
        "Master_Spec_v02.115.md",
        9381,
        9393,
        "#### 2.6.6.8 Profile: short",
    )
    assert [(f.code, f.line) for f in reading.findings] == [("HSK-REF-ANCHOR", 29)]


def test_what_a_template_left_open_says_nothing() -> None:
    lines = ("USER_SIGNATURE: <pending>", "REVIEW_STATUS: PENDING", "ENRICHMENT_NEEDED: {x}", "REASON: {reason}")
    text = "".join(f"- {line}\n" for line in lines)
    found = read_refinement(text.encode(), "r.md").refinement
    assert (found.user_signature, found.is_approved, found.enrichment_needed) == (None, False, None)
    assert found.enrichment_reason == ""


def test_the_registry_is_read_in_every_form() -> None:
    text = (
        "# WP-9 is old\nSee `WP-8` and `WP-8-v2` in prose.\n| Base WP | Active packet |\n|---:|---|\n"
        "| WP-1 | docs/task_packets/WP-1-v2.md | Done: WP-1-v2 | supersedes: WP-1-v1 |\n"
        "| WP-4 | docs/task_packets/stubs/WP-4-v1.md |\n- WP-2 -> WP-2-v1\n`WP-3`: WP-3-v7.\n"
        "```\nWP-5 -> WP-5-v1\n```\n"
    )
    entries = read_registry(text.encode())
    assert entries == (
        RegistryEntry(base_wp_id="WP-1", active="WP-1-v2", is_stub=False, line=5),
        RegistryEntry(base_wp_id="WP-4", active="WP-4-v1", is_stub=True, line=6),
        RegistryEntry(base_wp_id="WP-2", active="WP-2-v1", is_stub=False, line=7),
        RegistryEntry(base_wp_id="WP-3", active="WP-3-v7", is_stub=False, line=8),
    )
    assert active_packets(entries, "WP-1") == ("WP-1-v2",)
    assert active_packets(entries, "WP-9") == ()


def test_names_of_packets_are_found_in_text() -> None:
    assert wp_ids_in("see docs/refinements/WP-1-A.b-v2.md, WP-2 (not XWP-3). WP-1-A.b-v2.") == ("WP-1-A.b-v2", "WP-2")


AUDIT = """# SIGNATURE_AUDIT
- **Format:** `{username}{DDMMYYYYHHMM}` (e.g., `ada251225032800`)

| Signature | Used By | Date/Time | Purpose |
|-----------|---------|-----------|---------|
| ada180120261659 | Orchestrator | 2026-01-18 16:59 | Task packet creation: WP-1-Demo-v1 |
| `ada180120261700` | Orchestrator | 2026-01-18 17:00 | Spec update |
- ada180120261701: WP-2-Other-v1
```
| ada180120261702 | x | y | WP-3 |
```
| ada180120261659 | Orchestrator | later | WP-4 |
"""


def test_the_audit_gives_each_use_with_its_packets() -> None:
    uses = read_signature_audit(AUDIT.encode())
    assert [(use.signature, use.wp_ids, use.line) for use in uses] == [
        ("ada180120261659", ("WP-1-Demo-v1",), 6),
        ("ada180120261700", (), 7),
        ("ada180120261701", ("WP-2-Other-v1",), 8),
        ("ada180120261659", ("WP-4",), 12),
    ]
    assert [use.line for use in uses_of("ada180120261659", uses)] == [6, 12]


def test_the_pointer_to_the_spec_is_read_in_its_forms() -> None:
    bold = b"# SPEC_CURRENT\nThe spec is:\n**Master_Spec_v02.99.md**\n\nGovernance:\n**Codex v1.4.md**\n"
    assert specs_named(bold) == ("Master_Spec_v02.99.md",)
    assert specs_named(b"[the spec](spec/v3.md)\n") == ("spec/v3.md",)
    assert specs_named(b"docs/spec_v1.md and docs/spec_v2.md\n") == ("docs/spec_v1.md", "docs/spec_v2.md")
    assert specs_named(b"nothing\n") == ()
