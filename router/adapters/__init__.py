"""Everything that touches the world: sockets, files, the store, the log. Each file implements one port."""
