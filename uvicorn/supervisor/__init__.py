"""The master: owns the sockets, forks workers and judges them. No asyncio, no threads, no user code.

Pure (no fd, no clock, no logger): `events` · `actions` · `policy` · `table` · `wording` · `rolling` · `watchdog` ·
`state` · `development`. Shell: `kernel` (the only file that forks, kills, reaps, waits and reads the clock) · `child` ·
`notify` · `master`.
"""
