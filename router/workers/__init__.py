"""`workers: N`: several processes that serve one port from one store, and the process that starts them and watches over them.

The parent binds the sockets, starts the workers and starts one anew that has died (`supervisor`). A worker is what a single
process is, but for what it shares: it asks its siblings for what only their memory has (`siblings`, `answers`), and tells for
all of them at a scrape (`scrape`).
"""
