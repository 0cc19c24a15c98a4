"""Registers what all tests share."""

pytest_plugins = ["support.testbed.plugin", "support.servers_plugin", "support.product_plugin"]
