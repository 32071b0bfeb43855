"""What of a file a micro-task needs to see: all of it, or the definitions that its bullets are about.

A file that is too large for a budget is never shown whole: its prompt holds the definitions in focus and the
signatures of the rest. Contract: `micro-tasks.md`, Generation 6; `context.md`, Pipeline 6.
"""

from __future__ import annotations

from collections.abc import Iterable

from handshake.planning.assign import Assignment
from handshake.planning.names import names_of
from handshake.planning.sizes import NEW_FILE_TOKENS
from handshake.planning.words import WordIndex, telling_words, words_of
from handshake.source.languages import Definition
from handshake.source.project import Project

SIGNATURE_TOKENS = 12
_CLOSE_TO_BEST = 0.7
_MOST_BY_WORDS = 3


class Focus:
    """The definitions that each bullet is about, in files too large to be shown whole."""

    def __init__(self, project: Project, assignment: Assignment, bullets: tuple[str, ...], limit: int) -> None:
        self._project = project
        self._assignment = assignment
        self._bullets = bullets
        self._weights = telling_words(bullets)
        self._found: dict[tuple[str, int], tuple[str, ...]] = {}
        self._indexes: dict[str, WordIndex] = {}
        self._sizes: dict[str, int] = {}
        self.limit = limit

    def is_large(self, path: str) -> bool:
        """Whether the file alone is over the budget for contents."""
        return self._project.has(path) and self._project.tokens(path) > self.limit

    def of(self, path: str, bullet: int) -> tuple[str, ...]:
        """Qualified names in a file that a bullet names; in a large file, if it names none, those its words find."""
        key = (path, bullet)
        if key not in self._found:
            named = self._assignment.definitions_of(path, bullet)
            self._found[key] = self._narrowed(path, bullet, named) if self.is_large(path) else named
        return self._found[key]

    def _narrowed(self, path: str, bullet: int, named: tuple[str, ...]) -> tuple[str, ...]:
        """Of a class that is too long, the parts that the bullet's words find; so too where nothing is named."""
        if not named:
            return tuple(self._by_words(path, bullet, ""))
        room = self.limit - self.signature_tokens(path)
        found: list[str] = []
        for name in named:
            inner = self._by_words(path, bullet, name + ".") if self.body_tokens(path, [name]) > room else []
            found += inner or [name]
        return tuple(sorted(set(found)))

    def all_of(self, path: str, bullets: Iterable[int]) -> tuple[str, ...]:
        """What several bullets are about in a file, sorted."""
        return tuple(sorted({name for bullet in bullets for name in self.of(path, bullet)}))

    def tokens(self, path: str) -> int:
        """Tokens that a prompt shows of the file for all its bullets."""
        if not self._project.has(path):
            return NEW_FILE_TOKENS
        if not self.is_large(path):
            return self._project.tokens(path)
        if path not in self._sizes:
            self._sizes[path] = self._shown(path)
        return self._sizes[path]

    def _shown(self, path: str) -> int:
        bullets = self._assignment.bullets_of(path)
        names = self.all_of(path, bullets)
        if (bullets and not names) or not self._project.outline(path).definitions:
            return self._project.tokens(path)
        return self.body_tokens(path, names) + self.signature_tokens(path)

    def signature_tokens(self, path: str) -> int:
        """The list of a file's definitions, at most a quarter of the budget."""
        return min(self.limit // 4, SIGNATURE_TOKENS * len(self._project.outline(path).definitions))

    def body_tokens(self, path: str, names: Iterable[str]) -> int:
        """The definitions' lines, each counted once."""
        wanted = set(names)
        lines = self._project.lines(path)
        spans = [d for d in self._project.outline(path).definitions if d.qualified in wanted]
        numbers = sorted({number for d in spans for number in range(d.start - 1, d.end)})
        return self._project.count("\n".join(lines[number] for number in numbers if number < len(lines)))

    def pieces(self, path: str) -> tuple[tuple[str, ...], ...]:
        """All definitions of a file, in its order, in pieces that each fit the budget; none where it has none."""
        room = self.limit - self.signature_tokens(path)
        found: list[list[str]] = []
        for definition in self._units(path, room):
            joined = [*found[-1], definition.qualified] if found else []
            if joined and self.body_tokens(path, joined) <= room:
                found[-1] = joined
            else:
                found.append([definition.qualified])
        return tuple(tuple(names) for names in found)

    def has_definitions(self, path: str) -> bool:
        """Whether the file can be split at all."""
        return bool(self._project.outline(path).definitions)

    def too_long(self, path: str) -> tuple[str, ...]:
        """Definitions that not even a prompt of their own could hold."""
        room = self.limit - self.signature_tokens(path)
        units = self._units(path, room) if self.is_large(path) else ()
        return tuple(d.qualified for d in units if self.body_tokens(path, [d.qualified]) > room)

    def _units(self, path: str, room: int) -> tuple[Definition, ...]:
        """Outermost definitions; where one is too long, what stands in it."""
        found: list[Definition] = []
        definitions = self._project.outline(path).definitions
        for position, definition in enumerate(definitions):
            if found and definition.end <= found[-1].end:
                continue
            following = definitions[position + 1] if position + 1 < len(definitions) else None
            holds_more = following is not None and following.end <= definition.end
            if not holds_more or self.body_tokens(path, [definition.qualified]) <= room:
                found.append(definition)
        return tuple(found)

    def _by_words(self, path: str, bullet: int, inside: str) -> list[str]:
        """Definitions that hold no others, below the qualified name `inside`, whose words come closest."""
        definitions = self._leaves(path)
        if not definitions:
            return []
        if path not in self._indexes:
            lines = self._project.lines(path)
            texts = ["\n".join(lines[d.start - 1 : d.end]) for d in definitions]
            names = (words_of(d.qualified) for d in definitions)
            self._indexes[path] = WordIndex([[*name, *words_of(t)] for name, t in zip(names, texts, strict=True)])
        query = dict(self._weights[bullet])
        for name in names_of(self._bullets[bullet]):
            query.update({word: 2 * query.get(word, 1.0) for word in words_of(name.last)})
        scored = zip(self._indexes[path].scores(query), definitions, strict=True)
        ranked = sorted(
            ((score, d) for score, d in scored if score > 0 and d.qualified.startswith(inside)),
            key=lambda pair: (-pair[0], pair[1].start),
        )
        best = ranked[0][0] if ranked else 0.0
        return [d.qualified for score, d in ranked[:_MOST_BY_WORDS] if score >= _CLOSE_TO_BEST * best]

    def _leaves(self, path: str) -> tuple[Definition, ...]:
        definitions = self._project.outline(path).definitions
        following = [*definitions[1:], None][: len(definitions)]
        return tuple(d for d, n in zip(definitions, following, strict=True) if n is None or n.start > d.end)
