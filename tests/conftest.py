"""Registers what all tests share."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["support.testbed.plugin", "support.servers_plugin", "support.product_plugin"]

# How long an example takes says something of the machine and what else it does, and nothing of the product.
settings.register_profile("any machine", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow]))
settings.load_profile("any machine")
