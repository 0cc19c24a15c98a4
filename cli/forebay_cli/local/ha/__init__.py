"""Patroni members, etcd and HAProxy on this machine, and the faults that can be done to them."""
