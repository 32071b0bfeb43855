"""What is resolved without a process is what git says."""

from __future__ import annotations

import subprocess

import pytest

from handshake.repo.git import find_repository


@pytest.fixture
def place(tmp_path):
    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=U", "-c", "user.email=u@localhost", *args],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    for number in range(3):
        git("commit", "-q", "--allow-empty", "-m", str(number))
    git("tag", "-a", "-m", "t", "v1", "HEAD~1")
    git("checkout", "-q", "-b", "side", "HEAD~2")
    git("commit", "-q", "--allow-empty", "-m", "side")
    git("merge", "-q", "--no-ff", "-m", "merge", "main")
    return find_repository(tmp_path), git


def test_every_form_of_a_revision(place):
    repo, git = place
    tag = git("rev-parse", "v1")
    tree = git("rev-parse", "HEAD^{tree}")
    for rev in ("refs/heads/main", "refs/tags/v1", git("rev-parse", "main"), tag, "main", "v1", "HEAD~1"):
        assert repo.resolve(rev) == git("rev-parse", f"{rev}^{{commit}}"), rev
    for rev in ("refs/heads/none", "0" * 40, "f" * 40, tree, "none", "-x", "refs/", "refs/heads/a b"):
        assert repo.resolve(rev) is None, rev


def test_a_moved_ref_is_seen_at_once(place):
    repo, git = place
    before = repo.resolve("refs/heads/main")
    git("update-ref", "refs/heads/main", "main~1")
    assert repo.resolve("refs/heads/main") == git("rev-parse", "main") != before
    git("pack-refs", "--all")
    assert repo.resolve("refs/heads/main") == git("rev-parse", "main")


def test_ancestors_as_git_says(place):
    repo, git = place
    commits = git("rev-list", "--all").splitlines()
    for older in commits:
        for newer in commits:
            done = subprocess.run(
                ["git", "-C", str(repo.root), "merge-base", "--is-ancestor", older, newer], check=False
            )
            assert repo.is_ancestor(older, newer) == (done.returncode == 0)
