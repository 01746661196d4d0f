"""Trying many candidates, in processes and over stops; what a trial is and does is not this room's business."""

from saint.search._actors import Opening as Opening
from saint.search._cluster import RayCluster as RayCluster
from saint.search._code import code_digest as code_digest, defining_digest as defining_digest
from saint.search._crew import Crew as Crew, Look as Look
from saint.search._executor import Bench as Bench, Executor as Executor, Heard as Heard, OpenBench as OpenBench
from saint.search._lookout import Attentive as Attentive, Lookout as Lookout
from saint.search._loop_cost import LoopCost as LoopCost, measure_loop as measure_loop
from saint.search._message import (
    described_error as described_error,
    pack as pack,
    told_error as told_error,
    unpack as unpack,
)
from saint.search._parcel import Parcel as Parcel, ParcelFile as ParcelFile
from saint.search._processes import Processes as Processes, answered as answered
from saint.search._queue import Job as Job, Lease as Lease, Queue as Queue, Role as Role, Stage as Stage
from saint.search._ray import RayActors as RayActors
from saint.search._roster import Effort as Effort, Worker as Worker
from saint.search._share import (
    Share as Share,
    free_memory as free_memory,
    in_gib as in_gib,
    must_have_memory as must_have_memory,
    own_memory as own_memory,
)
from saint.search._simulate import (
    Cluster as Cluster,
    Costs as Costs,
    Simulated as Simulated,
    Work as Work,
    simulate as simulate,
)
from saint.search._status import (
    Control as Control,
    RoleStatus as RoleStatus,
    SearchStatus as SearchStatus,
    Seen as Seen,
    StatusFile as StatusFile,
    Word as Word,
    WorkerStatus as WorkerStatus,
    look as look,
)
from saint.search._store import Store as Store
from saint.search._workers import (
    Demand as Demand,
    Desk as Desk,
    PlainBench as PlainBench,
    Result as Result,
    Workers as Workers,
)
