Hello, ${name}!%{ if more } And ${count + 1} more.%{ endif }
