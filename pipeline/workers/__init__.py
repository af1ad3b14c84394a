"""Effects: jobs become results. Transport, gate, lanes, pool; aiohttp, aiolimiter, anyio."""
