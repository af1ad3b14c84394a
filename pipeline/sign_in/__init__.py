"""How an account signs in: its credentials become headers, or tokens that are fetched and renewed.

`tokens.signed_in` makes what sends an account's requests; `renewal` decides when a token is fetched
anew; `auth` has the header, and what is secret.

Not here: how a request travels (`http_client`), and which credentials a vendor wants (`vendors`).
"""
