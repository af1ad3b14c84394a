"""Output for people: `terminal` has tables and prompts, `html` has pages.

Not here: decisions and requests. All values come from the caller.
"""
