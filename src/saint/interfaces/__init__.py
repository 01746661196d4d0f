"""How tokens come into a model: tables that are made, not learned, and that several models can share."""

from saint.interfaces._interface import (
    Interface as Interface,
    Layout as Layout,
    Made as Made,
    NoOptions as NoOptions,
    Sources as Sources,
    bits_for as bits_for,
    open_interface as open_interface,
)
from saint.interfaces._report import InterfaceReport as InterfaceReport, describe as describe
from saint.interfaces._table import FrozenTable as FrozenTable, Table as Table, floats_as_code as floats_as_code
from saint.interfaces._texts import token_texts as token_texts
