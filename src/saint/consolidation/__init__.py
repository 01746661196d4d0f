"""Turning a stack of grafts back into plain weights."""

from saint.consolidation._merge import merge as merge
