"""Adapters in PEFT's file format: read from anywhere and taken as a graft, or written from one; PEFT is not needed."""

from saint.adapters._export import export_graft as export_graft
from saint.adapters._files import (
    GRAFT_LAYER as GRAFT_LAYER,
    GRAFT_PARTS as GRAFT_PARTS,
    GRAFT_SCHEMA as GRAFT_SCHEMA,
    GRAFT_TYPE as GRAFT_TYPE,
    WEIGHTS_NAME as WEIGHTS_NAME,
    Adapter as Adapter,
    check_adapter_file as check_adapter_file,
    read_adapter as read_adapter,
)
from saint.adapters._graft import to_graft as to_graft
from saint.adapters._origin import check_origin as check_origin
