"""The documentation. What follows from the code is made by `python -m docs.generate`."""
