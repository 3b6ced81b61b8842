"""What is served the same as by the package of the same name: frameworks, test suites, programs.

A program beside the package, not a part of it: `python -m compatibility` (or `scripts/compatibility`).
"""
