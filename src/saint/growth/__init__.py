"""The main flow: sensitivity, candidates, training, evaluation, gates, registry."""

from saint.growth._first import begin_layers as begin_layers, make_first_stage as make_first_stage
from saint.growth._grow import grow as grow
from saint.growth._hands import Hands as Hands, opening as opening
from saint.growth._head_state import HEAD_PARTS as HEAD_PARTS
from saint.growth._install import install as install
from saint.growth._layers import (
    active_stages as active_stages,
    candidate_of as candidate_of,
    first_config as first_config,
    started as started,
)
from saint.growth._layerwise import (
    HeadRule as HeadRule,
    Init as Init,
    LayerStage as LayerStage,
    Layerwise as Layerwise,
)
from saint.growth._orders import Brief as Brief, brief_for as brief_for
from saint.growth._parcels import (
    OpeningAnywhere as OpeningAnywhere,
    on_cluster as on_cluster,
    parcels_for as parcels_for,
)
from saint.growth._plan import Controls as Controls, Plan as Plan, Stage as Stage
from saint.growth._rejudge import Again as Again, rejudge as rejudge
from saint.growth._sets import Joint as Joint, Overgrow as Overgrow
from saint.growth._start import open_data as open_data, start as start
from saint.growth._submit import Submission as Submission, submit as submit
from saint.growth._watch import Watched as Watched, watch as watch
from saint.growth._workforce import ControlMade as ControlMade, ControlRun as ControlRun, Workforce as Workforce
