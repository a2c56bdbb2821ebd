"""The cases, one module a kind; a function is a case, or one at each of several steps."""
