"""The one exception that ends a run with a sentence instead of a traceback."""


class LabError(Exception):
    """Something that the person at the keyboard can mend: the text says what, where and what to do."""
