"""What people look at. `terminal` has tables, questions and closing lines; `html` has pages.

Nothing here decides or sends anything: it shows values that others give it.
"""
