"""`error-codes`: a code that is used is declared."""

from __future__ import annotations

import re

from handshake.domain.errors import ConfigError
from handshake.domain.packet import Finding
from handshake.domain.packet_fields import Remarks
from handshake.domain.packet_scope import in_scope
from handshake.gates.validators.view import View
from handshake.source.languages import is_test_file, language_of


def validate(view: View) -> list[Finding]:
    """The first use of each code in each source that no declaring file holds; none where nothing declares.

    Raises:
        ConfigError: the pattern of the configuration is none.
    """
    rules = view.settings.validators.error_codes
    try:
        pattern = re.compile(rules.pattern)
    except re.error as error:
        raise ConfigError(
            f"validators.error_codes.pattern is no pattern: {error}", next_step="mend it in .handshake/config.yaml"
        ) from None
    declaring = [path for path in view.paths if in_scope(path, rules.declared_in)]
    if not declaring:
        return []
    declared = {code.group(0) for path in declaring for code in pattern.finditer(view.text(path) or "")}
    findings: list[Finding] = []
    for path in view.judged:
        if path in declaring or language_of(path) is None or is_test_file(path):
            continue
        remarks, seen = Remarks(path), set()
        for number, line in enumerate((view.text(path) or "").splitlines()):
            for found in pattern.finditer(line):
                code = found.group(0)
                if code not in declared and code not in seen:
                    seen.add(code)
                    where = ", ".join(rules.declared_in)
                    remarks.error("HSK-VAL-CODE", number, f"{code} is not declared", f"declare it in {where}")
        findings += remarks.findings
    return findings
