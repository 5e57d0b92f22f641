"""The two ways an outside system can refuse work.

A caller that can wait keeps its batch and tries a `Retryable` again. A `Permanent` cannot be
cured by waiting: somebody has to change a setting, a password or the data.
"""


class Retryable(Exception):
    """The far side is away or busy; the same call may succeed later."""


class Permanent(Exception):
    """The far side will never accept this call as it stands."""


class Gone(Permanent):
    """The far side wants no more calls at this address, whatever they say."""
