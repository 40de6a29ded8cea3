"""The scripts that run inside the store, one file an atomic step; package data, read by resp.Script."""
