"""The commands on top of data and training, and what they are made of."""

import data_prep  # noqa: F401  Ctrl-C is quiet from here on
