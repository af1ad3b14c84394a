"""Exchanges with vendors as people see them: the request as curl, the reply as HTTP, no secrets.

`text` formats an exchange, `log` keeps some of a run's for its report.

Not here: how a page or a terminal shows an exchange (`ui`), where it is stored (`store`).
"""
