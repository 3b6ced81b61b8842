"""THE WATCHER: under `--reload`, one child of the master that looks at files and says over its channel what changed.

It is a process of its own because watching needs threads and packages that a master which forks must not have. It
decides nothing: what a change means is `supervisor.development`'s. Pure: `patterns`. Shell: `selection` (which folders
and patterns the settings mean) · `files` (looking by hand) · `main` (the process).
"""
