"""The operator: observe, decide, act, report. Decisions are pure; each client library has one door."""
