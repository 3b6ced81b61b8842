"""Side by side with the peers: how fast (`python -m benchmarks.speed`) and how hard to break (`python -m
benchmarks.drills`).
"""
