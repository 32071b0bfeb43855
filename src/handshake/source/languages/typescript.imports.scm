(import_statement source: (string (string_fragment) @import))
(import_statement
  (import_clause (named_imports (import_specifier name: (identifier) @import.name alias: (identifier)? @local)))
  source: (string (string_fragment) @import))
(import_statement (import_clause (namespace_import (identifier) @local)) source: (string (string_fragment) @import))
(import_statement (import_clause (identifier) @local) source: (string (string_fragment) @import))
(export_statement source: (string (string_fragment) @import))
(call_expression
  function: [(identifier) (import)] @_call
  arguments: (arguments . (string (string_fragment) @import))
  (#match? @_call "^(require|import)$"))
