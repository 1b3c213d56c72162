"""The report of a replay: what is kept of each series while it runs, and the one page that is made of it."""
