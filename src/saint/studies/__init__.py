"""Were the guesses any good, and does growing pay: everything is trained to the end, and held against each other."""

from saint.studies._bench import Materials as Materials, code as code
from saint.studies._docking_bench import docking_code as docking_code
from saint.studies._docking_plan import (
    DockBackbone as DockBackbone,
    DockClaim as DockClaim,
    DockingPlan as DockingPlan,
    DockModule as DockModule,
)
from saint.studies._docking_study import (
    DockingFindings as DockingFindings,
    DockingOutcome as DockingOutcome,
    check_docking as check_docking,
    study_docking as study_docking,
)
from saint.studies._docking_table import make_docking_results as make_docking_results
from saint.studies._experts_bench import ExpertsBench as ExpertsBench, experts_code as experts_code
from saint.studies._experts_plan import (
    CompositionPlan as CompositionPlan,
    CompositionTargets as CompositionTargets,
    ExpertsPlan as ExpertsPlan,
    GatePlan as GatePlan,
)
from saint.studies._experts_study import (
    ExpertsFindings as ExpertsFindings,
    ExpertsOutcome as ExpertsOutcome,
    check_composition as check_composition,
    study_composition as study_composition,
)
from saint.studies._experts_table import make_composition_results as make_composition_results
from saint.studies._full_bench import full_code as full_code
from saint.studies._full_plan import (
    BackbonePlan as BackbonePlan,
    FullPlan as FullPlan,
    FullTargets as FullTargets,
    ScratchPlan as ScratchPlan,
    StandingPlan as StandingPlan,
)
from saint.studies._full_study import (
    FullFindings as FullFindings,
    FullOutcome as FullOutcome,
    check_full as check_full,
    study_full as study_full,
)
from saint.studies._full_table import make_full_results as make_full_results
from saint.studies._plan import StudyPlan as StudyPlan, StudyTargets as StudyTargets
from saint.studies._sets import SetPlan as SetPlan
from saint.studies._strategies import Strategy as Strategy
from saint.studies._study import Findings as Findings, check_materials as check_materials, study as study
from saint.studies._table import make_results as make_results
from saint.studies._ways_bench import ways_code as ways_code
from saint.studies._ways_plan import (
    Claim as Claim,
    InDepth as InDepth,
    LoraPhases as LoraPhases,
    Way as Way,
    WaysPlan as WaysPlan,
)
from saint.studies._ways_study import (
    WaysFindings as WaysFindings,
    WaysOutcome as WaysOutcome,
    check_ways as check_ways,
    make_ways_results as make_ways_results,
    study_ways as study_ways,
)
