"""Pure decisions. Nothing below this package touches a socket, a file, a clock, the environment or chance."""
