"""The store as connections and keys: one node, sentinels, a cluster, or the one that comes along; its scripts."""
