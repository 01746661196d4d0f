"""Everything SAINT-G raises on purpose, one tree; the command line turns each into one sentence and an exit status."""

from typing import ClassVar


class SaintError(Exception):
    """Base class of the errors a caller may want to catch."""

    exit_status: ClassVar[int] = 1
    """What the `saint` command exits with: 1 a check failed, 2 wrong usage, 3 the check could not be made."""


class ConfigError(SaintError, ValueError):
    """A plan or an option names something unknown or holds an impossible value."""

    exit_status = 2


class UnknownNameError(ConfigError):
    """A graft kind, gate or map was asked for by a name that nothing provides."""


class BudgetError(ConfigError):
    """No candidate fits what growth may spend."""


class SiteError(SaintError, ValueError):
    """A graft was asked to attach where it cannot."""

    exit_status = 2


class DataError(SaintError, ValueError):
    """Text is missing, empty, unreadable, or too little for what was asked of it."""

    exit_status = 2


class DamagedTextError(SaintError, RuntimeError):
    """A file of prepared text is not the one that its manifest or its own record describes."""


class JudgeError(SaintError, RuntimeError):
    """A judge of generated text failed, so that a safety suite could not be measured."""

    exit_status = 3


class BaseModelError(SaintError, ValueError):
    """A folder or name does not hold a model that can be frozen."""

    exit_status = 2


class MixtureError(SaintError, ValueError):
    """Experts cannot be composed: they differ in tokenizer, interface, number format or architecture."""

    exit_status = 2


class BaseChangedError(SaintError, RuntimeError):
    """The weights, configuration or tokenizer are not those that were frozen."""


class QuantizedBaseError(SaintError, ValueError):
    """Something was asked of a quantised base that only weights in full precision can do."""

    exit_status = 2


class GraftFileError(SaintError, ValueError):
    """A graft's stored weights are not the ones its record describes."""


class AdapterError(SaintError, ValueError):
    """A PEFT adapter cannot be read, says what no graft can say, or is for another base."""

    exit_status = 2


class MissingPackageError(SaintError, ImportError):
    """Something was asked for whose optional package is not installed, or not in a version that will do."""

    exit_status = 2


class ExportError(SaintError, ValueError):
    """A stack cannot be written in the format that was asked for."""

    exit_status = 2


class StatementError(SaintError, ValueError):
    """A statement for others to check does not have the shape that its type prescribes."""


class NotARegistryError(SaintError, ValueError):
    """A folder is not a registry, or cannot become one."""

    exit_status = 2


class NewerFormatError(SaintError, RuntimeError):
    """Something on disk was written by a newer version, so it cannot be checked here."""

    exit_status = 3


class LedgerError(SaintError, RuntimeError):
    """The ledger or a blob on disk does not verify."""


class CheckpointKeyError(SaintError, LookupError):
    """A checkpoint is signed by no key that is known here, so it could not be checked."""

    exit_status = 3


class RememberedError(SaintError, RuntimeError):
    """What this machine remembers of a registry cannot be read, so nothing can be held against it."""

    exit_status = 3


class BusyError(SaintError, RuntimeError):
    """Another process is at work on the same registry."""


class NobodyAtWorkError(SaintError, RuntimeError):
    """Something was asked of whoever searches for a registry, and nobody does."""


class StaleEvidenceError(SaintError, RuntimeError):
    """Evidence was measured on a stack that no longer stands."""


class RolledBackError(SaintError, RuntimeError):
    """A composition was to be used that holds a graft which does not stand any more."""


class KeyFileError(SaintError, ValueError):
    """A key is missing, cannot be opened, or is not the one that is needed."""

    exit_status = 2


class SignatureError(SaintError, RuntimeError):
    """A signature does not hold: what was signed is something else, or whoever signed may not."""


class HoldOutError(SaintError, RuntimeError):
    """Sealed text may not be asked any more: it was retired, has expired, or has no documents left."""

    exit_status = 3


class CheckpointError(SaintError, RuntimeError):
    """A checkpoint on disk is of another run, or not what was saved."""


class DivergedError(SaintError, ArithmeticError):
    """Training ran away: the loss or its gradient is no longer a number."""


class WorkerError(SaintError, RuntimeError):
    """A process that was to do part of the work died."""


class ProcessGoneError(WorkerError):
    """A process of the same run ended before it should have, or cannot be reached."""


class UnfitWorkerError(ConfigError):
    """A worker has another base than its coordinator, or another version of what decides results."""


class RefusedResultError(WorkerError):
    """What a worker says came of a job is not what its coordinator finds: it was measured, or made, in another way."""


class StorageError(SaintError, OSError):
    """The disk refused a write; nothing was half-written."""


class Interrupted(SaintError):  # noqa: N818 - it is a request that was honoured, not a fault
    """Work stopped where it can be taken up again."""

    exit_status = 130


class RemoteError(SaintError, RuntimeError):
    """A remote cannot be reached, refuses, or does not do what is needed of one: nothing was found out."""

    exit_status = 3


class RemoteContentError(SaintError, RuntimeError):
    """What a remote or a bundle holds is not what a registry has there."""


class ForkError(SaintError, RuntimeError):
    """Two registries grew apart from the same past, so neither can be brought up to date with the other."""


class LibraryError(SaintError, ValueError):
    """There is no library, a graft may not be published in one, or one needs others before it can be installed."""

    exit_status = 2
