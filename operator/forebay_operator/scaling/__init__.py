"""The parts of the decision, one idea a module. Pure."""
