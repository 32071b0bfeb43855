(mod_item name: (identifier) @import.child !body)
(use_declaration argument: (_) @import)
