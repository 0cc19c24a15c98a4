"""Servers and consumers as processes of this machine: the local runtime and everything `--embedded` starts."""
