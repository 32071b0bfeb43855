"""Asking a server what it is: which dialect, which models, which context window. Contract: `models.md`, Providers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from handshake.domain.errors import ModelFailed
from handshake.domain.settings import LoraConfig, ModelConfig
from handshake.models.retry import RetryLater

if TYPE_CHECKING:
    import httpx

ServerKind = Literal["llama.cpp", "ollama", "vllm", "unknown"]

DEFAULT_WINDOW = 8192
_LOOPBACK = ("localhost", "127.", "[::1]", "::1", "0.0.0.0")  # noqa: S104 - compared with, not bound to
_MOST_SAMPLES = 8


@dataclass(frozen=True)
class Endpoint:
    """What a server said of itself. `models` is empty when it keeps no list; `window` is in tokens."""

    kind: ServerKind
    root_url: str
    models: tuple[str, ...]
    window: int
    most_samples: int
    has_tokenizer: bool
    takes_grammar: bool


def default_base_url(environment: Mapping[str, str] | None = None) -> str:
    """Ollama's endpoint: `http://127.0.0.1:11434/v1`, or what `OLLAMA_HOST` says."""
    host = (environment if environment is not None else os.environ).get("OLLAMA_HOST", "").strip().rstrip("/")
    if not host:
        return "http://127.0.0.1:11434/v1"
    if "://" not in host:
        host = f"http://{host}"
    parts = urlsplit(host)
    name = parts.hostname or "127.0.0.1"
    name = "127.0.0.1" if name == "0.0.0.0" else name  # noqa: S104 - a listening address, not one to call
    name = f"[{name}]" if ":" in name else name
    port = parts.port or (443 if parts.scheme == "https" else 11434)
    return f"{parts.scheme}://{name}:{port}{parts.path}/v1"


def is_loopback(url: str) -> bool:
    """Whether the server is this machine: then no proxy must come between."""
    host = urlsplit(url).hostname or ""
    return host.startswith(_LOOPBACK)


def root_of(base_url: str) -> str:
    """The server's address without the `/v1` of the OpenAI dialect."""
    return base_url.rstrip("/").removesuffix("/v1")


def look_up(client: httpx.Client, base_url: str, served_as: str, config: ModelConfig) -> Endpoint:
    """What the server at `base_url` says of itself and of the model `served_as`.

    Raises:
        ModelFailed: nothing answers (transient), the key is refused, or the model is not there.
    """
    listing = _get_json(client, base_url.rstrip("/") + "/models")
    rows = [row for row in _rows(listing, "data") if isinstance(row.get("id"), str)]
    kind = _kind(client, base_url, rows)
    names = tuple(sorted({name for row in rows for name in _names(row)}))
    # a llama.cpp server serves its one model under whatever name it is asked for
    if names and kind != "llama.cpp" and not _is_among(served_as, names):
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise ModelFailed(
            f"{base_url} does not serve {served_as!r}; it serves {shown}",
            category="model_error",
            transient=False,
            next_step=_mend(kind, served_as),
        )
    props = _get_json(client, root_of(base_url) + "/props") if kind == "llama.cpp" else None
    slots = props.get("total_slots") if isinstance(props, dict) else None
    return Endpoint(
        kind=kind,
        root_url=root_of(base_url),
        models=names,
        window=_window(client, base_url, served_as, kind=kind, rows=rows, props=props, config=config),
        most_samples=_most_samples(kind, slots),
        has_tokenizer=kind == "llama.cpp",
        takes_grammar=kind == "llama.cpp",
    )


def refuse_missing_adapter(client: httpx.Client, endpoint: Endpoint, lora: LoraConfig) -> None:
    """See that the server has an adapter: by its number at llama.cpp, or as a served name.

    Raises:
        ModelFailed: it says what it has, and this is not among it.
    """
    served_as = lora.served_as
    if endpoint.kind == "llama.cpp":
        rows = _get_json(client, endpoint.root_url + "/lora-adapters")
        known = tuple(str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row) if rows else ()
        if (
            (not isinstance(rows, list) or served_as in known)
            if served_as.isdigit()
            else served_as in endpoint.models
        ):
            return
        mend = "start the server with --lora, and set `served_as` to the number that its /lora-adapters gives"
    else:
        known, mend = endpoint.models, "load it there, or set its `served_as` to a served name"
        if not known or _is_among(served_as, known):
            return
    shown = ", ".join(known[:5]) or "none"
    raise ModelFailed(
        f"{endpoint.root_url} does not serve the adapter {lora.id!r} as {served_as!r}; it has {shown}",
        category="model_error",
        transient=False,
        next_step=f"{mend} (`loras:` in .handshake/config.yaml)",
    )


def _mend(kind: ServerKind, served_as: str) -> str:
    if kind == "ollama":
        return f"ollama pull {served_as}"
    return "set `model:` of its entry under `models:` in .handshake/config.yaml to a served name"


def _kind(client: httpx.Client, base_url: str, rows: list[dict[str, Any]]) -> ServerKind:
    owners = {str(row.get("owned_by", "")).lower() for row in rows}
    if "llamacpp" in owners:
        return "llama.cpp"
    if "vllm" in owners or any("max_model_len" in row for row in rows):
        return "vllm"
    # Ollama names the library as owner, but a model pushed by a person that person
    if "library" in owners or urlsplit(base_url).port == 11434:
        version = _get_json(client, root_of(base_url) + "/api/version")
        if isinstance(version, dict) and "version" in version:
            return "ollama"
    return "unknown"


def _window(
    client: httpx.Client,
    base_url: str,
    served_as: str,
    *,
    kind: ServerKind,
    rows: list[dict[str, Any]],
    props: Any,
    config: ModelConfig,
) -> int:
    """The window in force, in tokens: the server's where it tells, never more than the configured one."""
    told: int | None = None
    if kind == "llama.cpp" and isinstance(props, dict):
        told = (props.get("default_generation_settings") or {}).get("n_ctx")
    elif kind == "vllm":
        lengths = [row.get("max_model_len") for row in rows if served_as in _names(row)]
        told = next((length for length in lengths if isinstance(length, int)), None)
    elif kind == "ollama":
        # asked for with each call (num_ctx), so the configured window holds up to what the model can
        told = _ollama_most(client, base_url, served_as)
        return min(config.context_window or DEFAULT_WINDOW, told or config.context_window or DEFAULT_WINDOW)
    if isinstance(told, int) and told > 0:
        return min(told, config.context_window or told)
    return config.context_window or DEFAULT_WINDOW


def _ollama_most(client: httpx.Client, base_url: str, served_as: str) -> int | None:
    shown = _get_json(client, root_of(base_url) + "/api/show", post={"model": served_as})
    info = shown.get("model_info") if isinstance(shown, dict) else None
    for key, value in (info or {}).items():
        if key.endswith(".context_length") and isinstance(value, int):
            return value
    return None


def _most_samples(kind: ServerKind, slots: Any) -> int:
    if kind == "llama.cpp":
        return max(1, min(_MOST_SAMPLES, slots)) if isinstance(slots, int) else 1
    return 1 if kind == "ollama" else _MOST_SAMPLES


def _get_json(client: httpx.Client, url: str, post: dict[str, str] | None = None) -> Any:
    """The JSON there, or None if the server does not know the path or answers something else."""
    import httpx

    try:
        answer = client.get(url) if post is None else client.post(url, json=post)
    except httpx.TimeoutException:
        raise RetryLater(f"{url} does not answer in time", category="model_timeout") from None
    except httpx.TransportError as failure:
        raise RetryLater(f"{url} cannot be reached ({failure})") from None
    except httpx.InvalidURL as failure:
        raise ModelFailed(
            f"base_url {url!r} is not an address ({failure})",
            category="model_error",
            transient=False,
            next_step="mend `base_url` in .handshake/config.yaml",
        ) from None
    if answer.status_code in (401, 403):
        raise refused_key(url)
    if answer.status_code == 429 or answer.status_code >= 500:
        raise RetryLater(f"{url} answers {answer.status_code}", wait_s=retry_after_s(answer.headers))
    try:
        return answer.json() if answer.status_code == 200 else None
    except ValueError:
        return None


def refused_key(url: str) -> ModelFailed:
    """The error for 401 and 403."""
    return ModelFailed(
        f"{url} refuses the key",
        category="model_error",
        transient=False,
        next_step="set `api_key_env` of its entry to the variable that holds the key, and export it",
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date (RFC 9110, 10.2.3).

    A date is held against the answer's own Date: the two clocks need not agree.
    """
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        then, now = _moment(value), _moment(headers.get("date", ""))
        if then is None or now is None:
            return None
        seconds = max(0.0, (then - now).total_seconds())
    return seconds if 0 <= seconds < 86_400 else None


def _moment(text: str) -> datetime | None:
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a year of twenty digits
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _rows(listing: Any, key: str) -> list[dict[str, Any]]:
    rows = listing.get(key) if isinstance(listing, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _names(row: dict[str, Any]) -> list[str]:
    aliases = row.get("aliases")
    return [row["id"], *(alias for alias in aliases if isinstance(alias, str))] if aliases else [row["id"]]


def _is_among(served_as: str, names: tuple[str, ...]) -> bool:
    return served_as in names or f"{served_as}:latest" in names
