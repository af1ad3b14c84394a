"""What people look at. `terminal` has tables, questions and closing lines; `html` has pages.

Not here: decisions and requests. All values come from the caller.
"""
