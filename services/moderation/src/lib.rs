//! The moderation service: measures text and pictures against a table of detectors.
