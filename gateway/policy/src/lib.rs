//! Content policy: a ruleset and scores in, a verdict out; no I/O.
