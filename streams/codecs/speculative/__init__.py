"""Reading JSON speculatively: most messages of a topic are alike, byte by byte, but for values.

A template holds the literal bytes between the values of a message that the exact path has read.
Compiled kernels compare the next messages with it, word by word, and put the values straight
into columns. A message that differs in anything else is left to the exact path, so the result is
the same, bit for bit; only the speed differs. Where numba is not installed (the extra ``fast``),
or not yet loaded, everything takes the exact path.
"""
