"""The supervisor's drills: what a client and an operator see when something goes wrong, ours beside the peers
(`python -m benchmarks.drills`).

`scene` has what every drill needs; each other module has the drills of one subject, `__main__` the table with one
row per drill and one column per server.
"""
