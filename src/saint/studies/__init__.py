"""Were the guesses any good: everything is trained to the end, and what foretold it is held against that."""

from saint.studies._bench import Materials as Materials, code as code
from saint.studies._plan import StudyPlan as StudyPlan, StudyTargets as StudyTargets
from saint.studies._sets import SetPlan as SetPlan
from saint.studies._strategies import Strategy as Strategy
from saint.studies._study import Findings as Findings, check_materials as check_materials, study as study
from saint.studies._table import make_results as make_results
