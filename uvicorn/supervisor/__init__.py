"""The master: owns the sockets, forks workers and judges them. No asyncio, no threads, no user code.

Pure (no descriptor, no clock, no logger): `supervisor` and `development` judge, over `fleet` · `handle` · `service` ·
`transitions` · `table` · `rolling` · `watchdog` · `policy` · `wording` · `events` · `actions` · `plain`. What does it:
`master` (the loop), `kernel` with `sources` and `spawner`, `child`, `inspection`, `caller`, `notify`.
"""
