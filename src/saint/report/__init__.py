"""What the ledger says, for people and programs; nothing is measured here."""

from saint.report._active import active_rows as active_rows, active_table as active_table
from saint.report._blame import blame_lines as blame_lines, blame_parts as blame_parts
from saint.report._blame_page import blame_html as blame_html
from saint.report._blame_picture import blame_picture as blame_picture
from saint.report._cluster import (
    prediction_parts as prediction_parts,
    sweep_parts as sweep_parts,
    write_sweep as write_sweep,
)
from saint.report._comparison import comparison_parts as comparison_parts, to_markdown as to_markdown
from saint.report._comparison_figures import (
    comparison_figures as comparison_figures,
    figure_lines as figure_lines,
    unmeasured_lines as unmeasured_lines,
)
from saint.report._comparison_page import (
    comparison_html as comparison_html,
    comparison_pictures as comparison_pictures,
    write_comparison as write_comparison,
)
from saint.report._compositions import (
    composition_parts as composition_parts,
    compositions as compositions,
    described as described,
    standing_of as standing_of,
)
from saint.report._difference import difference as difference, difference_parts as difference_parts
from saint.report._docking import (
    docking_markdown as docking_markdown,
    docking_parts as docking_parts,
    write_docking as write_docking,
)
from saint.report._experts import (
    experts_figure_lines as experts_figure_lines,
    experts_figures as experts_figures,
    experts_markdown as experts_markdown,
    experts_parts as experts_parts,
    experts_unmeasured as experts_unmeasured,
    write_experts as write_experts,
)
from saint.report._figure import Figure as Figure
from saint.report._full import (
    full_figure_lines as full_figure_lines,
    full_figures as full_figures,
    full_markdown as full_markdown,
    full_parts as full_parts,
    full_unmeasured as full_unmeasured,
    write_full as write_full,
)
from saint.report._growth_curve import curve_table as curve_table
from saint.report._html import to_html as to_html
from saint.report._judging import (
    holdout_lines as holdout_lines,
    policy_lines as policy_lines,
    rejudged_lines as rejudged_lines,
    replayed_lines as replayed_lines,
    signature_lines as signature_lines,
    watched_lines as watched_lines,
)
from saint.report._library import (
    beside_table as beside_table,
    certificate_lines as certificate_lines,
    library_table as library_table,
)
from saint.report._measured import against_chance as against_chance, measured_parts as measured_parts
from saint.report._metrics import metrics_text as metrics_text
from saint.report._study import study_markdown as study_markdown, study_parts as study_parts
from saint.report._study_figures import (
    study_figure_lines as study_figure_lines,
    study_figures as study_figures,
    study_unmeasured as study_unmeasured,
)
from saint.report._study_page import (
    claim_figures as claim_figures,
    claim_lines as claim_lines,
    claims_unmeasured as claims_unmeasured,
)
from saint.report._study_pictures import study_pictures as study_pictures, write_study as write_study
from saint.report._summary import summarise as summarise
from saint.report._text import (
    arms_table as arms_table,
    entry_lines as entry_lines,
    judged_table as judged_table,
    log_table as log_table,
    status_lines as status_lines,
)
from saint.report._top import top_parts as top_parts, top_record as top_record
from saint.report._ways import (
    ways_markdown as ways_markdown,
    ways_parts as ways_parts,
    write_ways as write_ways,
)
from saint.report._whole import report_parts as report_parts
from saint.report._written import write_picture as write_picture, write_whole as write_whole
