"""OpenAI's Responses as simulated providers speak them.

Belongs here: one file a concern, as in the packages beside it.
"""
