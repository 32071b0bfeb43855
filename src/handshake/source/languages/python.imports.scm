(import_statement name: (dotted_name) @import)
(import_statement name: (aliased_import name: (dotted_name) @import alias: (identifier) @local))
(import_from_statement module_name: (_) @import name: (dotted_name) @import.name)
(import_from_statement module_name: (_) @import
  name: (aliased_import name: (dotted_name) @import.name alias: (identifier) @local))
(import_from_statement module_name: (_) @import (wildcard_import))
