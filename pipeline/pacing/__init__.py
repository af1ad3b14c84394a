"""When a request may leave: quota windows, rate, concurrency, pause, circuit breaker.

The limiter is the only part that waits; `permits` waits for a connection besides. It asks the
decisions beside it, which get the time as an argument. The quota lease lets one process at a time
use a quota.

Not here: which row is sent next, and how (`workers`).
"""
