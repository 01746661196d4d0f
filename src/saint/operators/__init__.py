"""Ways to make a trained model larger all at once, as controls for growth by grafts: every public module is one."""

from saint.operators._expand import Expansion as Expansion, build_operator as build_operator, expand as expand
from saint.operators._masks import Masks as Masks
from saint.operators._operator import Operator as Operator, Preserves as Preserves
