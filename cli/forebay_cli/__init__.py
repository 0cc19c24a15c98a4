"""The `forebay` command: the local runtime, positions by hand, the schema's SQL, the demo."""
