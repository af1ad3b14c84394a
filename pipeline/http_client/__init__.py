"""An HTTP/1.1 client that repeats nothing, and says of each request what is known of it.

A `Transport` sends the requests of one link. A request goes through it like this:

1. `connect` waits for an open connection; `take` picks idle ones. `connections` keeps and opens
   them (by aiohttp: addresses, proxies, `tls`), and waits after failures (`backoff`).
2. `start` writes the request to that connection: `http1` formats its head, `connection` sends it.
   From then on it may have arrived. One `start` puts at most one request on the wire.
3. `connection` feeds what arrives to the parser of `http1`, and watches for surplus replies and
   for the end of its time.
4. The connection is given back, and a callback gets a value: a `Reply`, its body unpacked
   (`decompress`), or a `NoReply` that says why there is none and if the request may have arrived
   (`no_replies`). Credentials that a reply repeats are masked when it is shown (`masking`).

`wire.send` does all of this for a task that awaits it. Callers know only the protocol of `wire`,
which a test implements in a few lines.

Not here: what a request is about, when it may leave (`pacing`), whose credentials it carries
(`sign_in`), if it is sent again (`workers`) and what its reply means (`vendors`). Of our folders it
imports only `model`.
"""
