import click

from saint.cli._terminal import SaintGroup
from saint.cli.base import train
from saint.cli.benching import bench
from saint.cli.blaming import blame
from saint.cli.comparing import compare
from saint.cli.composing import compose, compositions
from saint.cli.data import data
from saint.cli.demo import demo
from saint.cli.differing import diff
from saint.cli.expanding import expand
from saint.cli.exporting import export
from saint.cli.growing import grow, init
from saint.cli.interfacing import interface
from saint.cli.judging import approve, holdout, policy
from saint.cli.keys import keys
from saint.cli.kinds import kinds
from saint.cli.ledger import log, report, rollback, show, status, verify
from saint.cli.library import library
from saint.cli.mapping import map_sites
from saint.cli.measuring import measure
from saint.cli.mixing import mix
from saint.cli.overseeing import pause, resume, stop, top
from saint.cli.planning import plan_cluster, simulate_cluster
from saint.cli.rejudging import rejudge
from saint.cli.remoting import bundle, import_registry, pull, push, unbundle
from saint.cli.studying import study
from saint.cli.submitting import submit
from saint.cli.upkeep import doctor, gc, repair
from saint.cli.watching import watch


@click.group(cls=SaintGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="saint-g", prog_name="saint")
def main() -> None:
    """Grow a frozen Transformer by small, measured, removable changes, and keep an audit trail of each.

    Begin with `saint demo`: it trains a small base, grows it, and leaves a registry to look at.

    Exit status: 0 done, 1 a check failed, 2 wrong usage, 3 a check could not be made, 130 stopped.
    """


for command in (
    demo,
    init,
    grow,
    top,
    pause,
    resume,
    stop,
    submit,
    status,
    log,
    show,
    rollback,
    rejudge,
    compose,
    compositions,
    mix,
    diff,
    approve,
    keys,
    policy,
    holdout,
    verify,
    repair,
    gc,
    doctor,
    blame,
    watch,
    report,
    export,
    push,
    pull,
    bundle,
    unbundle,
    library,
    import_registry,
    measure,
    compare,
    study,
    bench,
    plan_cluster,
    simulate_cluster,
    train,
    data,
    expand,
    kinds,
    interface,
    map_sites,
):
    main.add_command(command)
