"""The one error that a command reports without a stack trace."""


class KitError(Exception):
    """Something the user can mend: the message says what is wrong, in which file, and what was expected."""
