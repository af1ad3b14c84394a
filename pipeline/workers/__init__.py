"""The worker pool: jobs become results, one sender per account.

| question | file |
| --- | --- |
| How does a row get from the jobs file to a worker? | `read_ahead`, `backlog`, `entity_queue` |
| What is known of a row while it is sent? | `batches.Row` |
| What does the run tell a sender? | `environment` |
| Which rows are next? | `account_sender`, `probes` |
| When does a row leave? | `claimer`, `pump`, `attempts` |
| Is a 503 retried? How does a row end? | `row` (delays: `model/retry`) |
| What is read of an entity, and when? | `row`, `reads`; `precheck` decides from the state |
| Is a 403 about the row or the account? | `refusals`, `undecided` |
| When does an account stop? | `stop_reason`, `fail_fast`, `pauses` |
| How many requests are in flight? | `concurrency_limiter` |
| When is a refused group split? | `bisection` |
| How does a result get on record? | `result_writer`, `recorder`, `writer_thread` |

Not here: how a request reaches the vendor (`http_client`, `sign_in`), when it may be sent
(`pacing`), what a reply means (`vendors`) and how a result is made durable (`store`).
"""
