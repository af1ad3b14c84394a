"""The store in a PostgreSQL database, for processes on many machines.

Everything is in the schema `pipeline` of one database. Importing a module of this folder, except
`address`, needs the extra `postgres`.

Not here: the contract that it keeps (`store.seam`), and the store on files (`store`).
"""
