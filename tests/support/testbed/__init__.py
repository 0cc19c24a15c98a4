"""Real servers for tests: see plugin.py for the fixtures and servers.py for what they hand out."""
