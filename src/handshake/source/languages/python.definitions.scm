(function_definition name: (identifier) @name) @definition
(class_definition name: (identifier) @name) @definition
(module (expression_statement (assignment left: (identifier) @name)) @definition)
(decorated_definition definition: (function_definition name: (identifier) @name)) @definition
(decorated_definition definition: (class_definition name: (identifier) @name)) @definition
