"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something that the person at the keyboard can mend.

    The message is one line: what was wrong, where (file, line, record), what to do.
    The command line prints it without a traceback and exits with 1.
    """
