//! The text service on a real port with real models.

#![expect(clippy::expect_used, clippy::panic, reason = "tests fail by panicking, their helpers too")]

mod choices;
mod common;
mod formats;
mod hub;
mod identity;
mod logprobs;
mod models;
mod rerank;
mod sentence;
mod service;
mod tools;
mod truncation;
