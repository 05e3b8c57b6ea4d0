//! The tonic kit all Atelier binaries are built from.
