"""The simulated providers' batch APIs: files, batches, their states and failures, on a clock of their own.

Belongs here: what providers do with work that can wait. Does not belong here: how one call is answered (the modules
beside this package), and anything of the router.
"""
