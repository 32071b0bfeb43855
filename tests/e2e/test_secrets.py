"""A secret in a file in scope reaches the model and stays in this clone: the log has its mask."""

from __future__ import annotations

import subprocess

from run_records import WP, tiny_packet

TOKEN = "ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"
KEY = "an-ordinary-word-that-is-a-key"
TRACK = f"handshake/track/{WP}"


def with_secrets(shop):
    file = shop.root / "shop" / "pricing.py"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, "", f"# {TOKEN} {KEY}", ""]))
    shop.git("commit", "-qam", "a careless comment")
    shop.serve()
    shop.served_by("m0", api_key_env="SHOP_KEY")
    shop.drop(tiny_packet)


def log_of(shop) -> bytes:
    """Everything the tracking branch ever held, but the files as they stand in the code."""
    others = ":(exclude,glob)jobs/*/worktree/**"
    command = ["git", "-C", str(shop.root), "log", "-p", "--format=%B", TRACK, "--", ".", others]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_a_secret_is_masked_on_the_branch_and_kept_here(shop):
    with_secrets(shop)
    done = shop.handshake("run", WP, "--verbose", SHOP_KEY=KEY)
    log = log_of(shop)
    for secret in (TOKEN, KEY):
        assert secret.encode() not in log
        assert secret not in done.stdout + done.stderr
        assert secret not in shop.handshake("show", f"{WP}/MT-001").stdout
        journal = shop.root / ".git" / "handshake" / "journal"
        assert not any(secret in file.read_text() for file in journal.rglob("*.jsonl"))
    prompt = "steps/MT-001_iter-001/prompt.md"
    assert b"[MASKED GitHub Token] [MASKED value of SHOP_KEY]" in log
    flags = shop.on_track("steps/MT-001_iter-001/secrets.json")["artifacts"]
    assert prompt in [row["path"][row["path"].index("steps/") :] for row in flags]
    assert all(row["classification"] == "high" and not row["exportable"] for row in flags)
    (kept,) = (shop.root / ".git" / "handshake" / "verbatim").rglob(prompt.rpartition("/")[2])
    assert f"# {TOKEN} {KEY}" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_a_killed_run_goes_on_from_the_prompt_as_it_was(shop):
    with_secrets(shop)
    shop.handshake("run", WP, code=None, SHOP_KEY=KEY, HANDSHAKE_FAILPOINT="reply.store:after:kill")
    assert len(shop.server.calls()) == 1
    shop.handshake("run", WP, SHOP_KEY=KEY)
    assert len(shop.server.calls()) == 1  # the stored reply was found by the same prompt
    assert shop.json("status", WP)["runs"][0]["status"] == "completed"
    assert TOKEN.encode() not in log_of(shop)


def test_a_secret_in_a_note_never_reaches_the_log(shop):
    shop.serve()
    shop.configure(levels=1, policy={"pause_points": ["MT-001"]})
    shop.drop(tiny_packet)
    shop.handshake("run", WP, code=3)
    said = shop.handshake("decide", WP, "continue", "--note", f"the token is {TOKEN}")
    assert "what looks like a secret" in said.stderr and TOKEN not in said.stderr + said.stdout
    shop.handshake("run", WP)
    job = shop.git("ls-tree", "--name-only", f"{TRACK}:jobs").splitlines()[-1]
    assert "the token is [MASKED GitHub Token]" in shop.git("show", f"{TRACK}:jobs/{job}/decisions/001.yaml")
    assert TOKEN.encode() not in log_of(shop)
