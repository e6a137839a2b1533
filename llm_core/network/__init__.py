"""The only rooms that talk to the outside: downloads, HTTP headers, archives, packages."""
