"""TOML in, frozen dataclasses out; an unknown key is an error with its neighbour named."""

from saint.config._build import build as build, load as load, parse as parse, unknown_key as unknown_key
