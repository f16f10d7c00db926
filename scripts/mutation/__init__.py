"""Mutation testing: which single changes of the code no test notices. `scripts/mutants --help` says how it works."""
