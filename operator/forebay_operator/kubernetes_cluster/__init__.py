"""The door to the Kubernetes API: the only importer of the kubernetes client.

What must not live here: what the objects look like (resources.py) and what they mean (workload.py, drift.py).
"""
