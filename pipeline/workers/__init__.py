"""The worker pool: jobs become results, one sender per account.

Queue, requests, retries, verification reads, tokens and the transport are here.

Not here: when a request may leave (`pacing`), what a reply means (`vendors`) and how a result is
made durable (`store`).
"""
