from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._opening import open_registry
from saint.cli._terminal import json_option, registry_argument, say_json

if TYPE_CHECKING:
    from saint.signing import Envelope, PublicKey, Trust

_into = click.option("--write", "into", type=click.Path(), help="Sign, and write that to a file for others to sign.")
_signed = click.option("--from", "signed", type=click.Path(), help="A file that others have signed, made by --write.")
_reason = click.option("--reason", default="", help="Why; it is kept in the ledger.")


@click.group()
def keys() -> None:
    """Keys of this machine, and whose signatures count in a registry.

    Keys lie in $SAINT_HOME/keys, or ~/.saint-g/keys. No command prints a private key.
    """


@keys.command(name="list")
@json_option
def list_keys(*, as_json: bool) -> None:
    """The keys of this machine."""
    from saint.signing import keys_folder, load_public

    found = [(path.stem, load_public(path)) for path in sorted(keys_folder().glob("*.pub"))]
    if as_json:
        say_json([{"name": name, "key_id": key.key_id} for name, key in found])
        return
    for name, key in found:
        click.echo(f"{name}  {key.key_id}")
    if not found:
        click.echo(f"there is no key in {keys_folder()}; one is made when it is needed, or by `saint keys make NAME`")


@keys.command()
@click.argument("name")
@json_option
def make(name: str, *, as_json: bool) -> None:
    """Make an Ed25519 key called NAME, encrypted if $SAINT_KEY_PASSPHRASE is set."""
    from saint.signing import key_path, make_key

    path = key_path(name)
    key = make_key(path)
    if as_json:
        say_json({"name": name, "key_id": key.key_id, "path": str(path)})
    else:
        click.echo(f"{path} made; its id is {key.key_id}")


@keys.command()
@click.argument("key")
@json_option
def show(key: str, *, as_json: bool) -> None:
    """The public part of KEY, a name or a file, for others."""
    found = _public(key)
    if as_json:
        say_json({"key_id": found.key_id, "public": found.to_pem()})
    else:
        click.echo(found.to_pem(), nl=False)
        click.echo(f"id {found.key_id}")


@keys.command()
@registry_argument
@click.option("--root", "roots", multiple=True, help="A root key's id that REGISTRY's owner has told you of.")
@json_option
def trust(registry: str, roots: tuple[str, ...], *, as_json: bool) -> None:
    """Whose signatures count in REGISTRY, or, with --root, trust them on this machine from now on."""
    from saint.signing import pin, trust_of

    opened = open_registry(registry)
    _say_trust(pin(opened, list(roots)) if roots else trust_of(opened), as_json=as_json)


@keys.command()
@registry_argument
@click.option("--set", "path", type=click.Path(), help="A TOML file with [<role>]: keys, threshold, expires.")
@_signed
@_into
@_reason
@json_option
def roles(registry: str, path: str | None, signed: str | None, into: str | None, reason: str, *, as_json: bool) -> None:
    """Give REGISTRY's roles root, proposer, evaluator, approver and log to keys.

    Enough root keys of before and after must sign: those of this machine do, others with --write and --from.
    """
    from saint import config
    from saint.signing import ROLES, Grant, Trust, spell, trust_of

    opened = open_registry(registry)
    now = trust_of(opened)
    if not path and not signed:
        _say_trust(now, as_json=as_json)
        return
    wanted = None
    if path:
        plain = config.parse(_text(path), where=path)
        public = {role: [_public(key) for key in _keys_of(role, one, where=path)] for role, one in plain.items()}
        grants: dict[str, Grant] = {
            role: config.build({**plain[role], "keys": [key.key_id for key in found]}, Grant, where=f"{path}: {role}")
            for role, found in public.items()
            if role in ROLES
        }
        wanted = Trust(
            origin=opened.origin,
            version=now.version + 1 if now else 1,
            keys={key.key_id: spell(key) for found in public.values() for key in found},
            roles=grants,
        )
    _change(opened, wanted, signed, into, reason, as_json=as_json)


@keys.command()
@registry_argument
@click.argument("key")
@_signed
@_into
@click.option("--reason", required=True, help="Why; it is kept in the ledger.")
@json_option
def revoke(registry: str, key: str, signed: str | None, into: str | None, reason: str, *, as_json: bool) -> None:
    """Let KEY count for nothing in REGISTRY from now on; what it signed before stands."""
    from saint.signing import trust_of

    opened = open_registry(registry)
    now = _must_have(trust_of(opened))
    _change(opened, now.without(_id_of(key, now)), signed, into, reason, as_json=as_json)


@keys.command()
@registry_argument
@click.argument("key")
@click.argument("new")
@_signed
@_into
@_reason
@json_option
def rotate(
    registry: str, key: str, new: str, signed: str | None, into: str | None, reason: str, *, as_json: bool
) -> None:
    """Give all roles that KEY has in REGISTRY to the key NEW."""
    from saint.signing import trust_of

    opened = open_registry(registry)
    now = _must_have(trust_of(opened))
    wanted = now.with_instead(_id_of(key, now), _public(new))
    _change(opened, wanted, signed, into, reason or "rotated", as_json=as_json)


def _change(
    registry: Any, wanted: "Trust | None", signed: str | None, into: str | None, reason: str, *, as_json: bool
) -> None:
    from saint.signing import change_trust, read_trust, sign_change, trust_of

    earlier = read_file(signed) if signed else None
    trust = wanted
    if trust is None:
        assert earlier is not None
        trust = read_trust(earlier)
    envelope = sign_change(trust, trust_of(registry), earlier=earlier)
    if into:
        Path(into).write_bytes(envelope.to_bytes())
        click.echo(f"{into} written; it changes nothing until it is put into the ledger with --from", err=as_json)
    else:
        _say_trust(change_trust(registry, envelope, reason=reason), as_json=as_json)


def _text(path: str) -> str:
    from saint.errors import ConfigError

    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as roles ({error}); give the path of a TOML file") from error


def _keys_of(role: str, one: Any, *, where: str) -> list[str]:
    """The keys that a role is given to, as people name them."""
    from saint.errors import ConfigError

    found = one.get("keys", []) if isinstance(one, dict) else None
    if not isinstance(found, list) or not all(isinstance(key, str) for key in found):
        raise ConfigError(
            f"{where}: {role} is to be a table whose keys are a list of text; see `saint keys roles --help`"
        )
    return found


def read_file(path: str) -> "Envelope":
    """The envelope in a file."""
    from saint.signing import read_envelope

    return read_envelope(Path(path).read_bytes())


def _say_trust(trust: "Trust | None", *, as_json: bool) -> None:
    from saint.records import to_plain

    if as_json:
        say_json(to_plain(trust))
        return
    if trust is None:
        click.echo("nothing was signed in this registry yet")
        return
    click.echo(f"registry {trust.origin}, version {trust.version} of its trust file")
    if trust.is_embedded:
        click.echo("one key has all roles, so nobody watches anybody; `saint keys roles` tells them apart")
    for role, grant in trust.roles.items():
        until = f" until {grant.expires}" if grant.expires else ""
        click.echo(f"{role}: {grant.threshold} of {', '.join(grant.keys)}{until}")


def _public(key: str) -> "PublicKey":
    """A key by its name on this machine, or by its file."""
    from saint.signing import keys_folder, load_public

    named = keys_folder() / f"{key}.pub"
    return load_public(named if "/" not in key and named.exists() else Path(key))


def _id_of(key: str, trust: "Trust") -> str:
    """The id of a key that is named by its id's start, by its name here or by its file."""
    found = [known for known in trust.keys if len(key) >= 8 and known.startswith(key)]
    return found[0] if len(found) == 1 else _public(key).key_id


def _must_have(trust: "Trust | None") -> "Trust":
    from saint.errors import UnknownNameError

    if trust is None:
        raise UnknownNameError("nothing was signed in this registry yet, so there is no key to take a role from")
    return trust
