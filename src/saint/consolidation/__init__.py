"""Turning a stack of grafts back into plain weights, and building a model anew with other sizes."""

from saint.consolidation._architecture import count_layers as count_layers, rebuilt as rebuilt
from saint.consolidation._merge import merge as merge
