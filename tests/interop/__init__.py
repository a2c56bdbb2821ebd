"""Real servers on loopback: run by `nox -s interop`."""
