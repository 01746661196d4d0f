"""What a graft must pass: every module here without a leading underscore is one gate."""

from saint.gates._gate import Gate as Gate, build_gates as build_gates, verdicts as verdicts
