//! Pictures and clips: read within bounds, resized, written.
