"""The one error that a user is meant to read."""


class PotstillError(Exception):
    """Something the user can put right.

    The message is one clear sentence that names what is wrong and the way out. The command
    line prints it without a traceback and exits with code 2. Anything else that is raised is
    a bug in potstill and keeps its traceback.

    Messages never quote prompts, responses, credentials or environment variables.
    """

    exit_code = 2
