"""The main flow: sensitivity, candidates, training, evaluation, gates, registry."""

from saint.growth._checking_crew import CheckingCrew as CheckingCrew
from saint.growth._cluster import (
    Prediction as Prediction,
    Prices as Prices,
    Sweep as Sweep,
    costs_of as costs_of,
    predict as predict,
    sweep as sweep,
    told as told,
    works_of as works_of,
)
from saint.growth._first import (
    begin_layers as begin_layers,
    make_first_stage as make_first_stage,
    must_be_drawn as must_be_drawn,
)
from saint.growth._gpus import gpus_for as gpus_for
from saint.growth._grow import grow as grow
from saint.growth._hands import Hands as Hands, opening as opening
from saint.growth._head_state import HEAD_PARTS as HEAD_PARTS
from saint.growth._install import install as install
from saint.growth._layers import (
    active_stages as active_stages,
    candidate_of as candidate_of,
    first_config as first_config,
    stage_candidate as stage_candidate,
    stages_of as stages_of,
    started as started,
)
from saint.growth._layerwise import (
    HeadRule as HeadRule,
    Init as Init,
    LayerStage as LayerStage,
    Layerwise as Layerwise,
)
from saint.growth._memory import TrialMemory as TrialMemory, trial_memory as trial_memory
from saint.growth._orders import Brief as Brief, brief_for as brief_for, brief_of as brief_of
from saint.growth._parcels import (
    OpeningAnywhere as OpeningAnywhere,
    on_cluster as on_cluster,
    parcels_for as parcels_for,
)
from saint.growth._plan import Controls as Controls, Plan as Plan, Stage as Stage
from saint.growth._ranks import Ranks as Ranks, serve as serve
from saint.growth._rejudge import Again as Again, rejudge as rejudge
from saint.growth._sets import Joint as Joint, Overgrow as Overgrow
from saint.growth._start import open_data as open_data, start as start
from saint.growth._submit import Submission as Submission, submit as submit
from saint.growth._unit_costs import UnitCosts as UnitCosts, measure_units as measure_units, units_in as units_in
from saint.growth._watch import Watched as Watched, watch as watch
from saint.growth._workforce import ControlMade as ControlMade, ControlRun as ControlRun, Workforce as Workforce
