(import_spec !name path: (interpreted_string_literal) @import)
(import_spec name: (package_identifier) @local path: (interpreted_string_literal) @import)
