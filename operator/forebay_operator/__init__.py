"""The operator: observe, decide, act, report. Decisions are pure and import nothing; each client library has one door."""
