"""How fast and how robust: ours and others, side by side."""

import data_prep  # noqa: F401  Ctrl-C is quiet from here on
