"""The worker pool: jobs become results, one sender per account.

To follow a row, read `read_ahead`, `entity_queue` and `backlog` (it waits until it may be sent),
`account_sender` (it is chosen), `claimer` and `recorder` (that it may be sent is on disk), `pump`
and `attempts` (it is sent, and answered), `row` (what follows), `result_writer` (its end is on
disk, and the next row of its entity is free). The rest is about what may come between:

| question | file |
| --- | --- |
| What is known of a row while it is sent? | `batches.Row` |
| What does the run tell a sender? | `environment` |
| Which rows are next? | `account_sender`, `probes` |
| Is a 503 retried? How does a row end? | `row` (delays: `model/retry`) |
| What is read of an entity, and when? | `row`, `reads`; `precheck` decides from the state |
| Is a 403 about the row or the account? | `refusals`, `undecided` |
| When does an account stop? | `stop_reason`, `fail_fast`, `pacing/pause_handler` |
| How many requests are in flight? | `concurrency_limiter` |
| When is a refused group split? | `bisection` |

Not here: how a request reaches the vendor (`http_client`, `sign_in`), when it may be sent
(`pacing`), what a reply means (`vendors`), when a reply is certain (`http_client/held_replies`),
and how a result is made durable (`store`).
"""
