//! The text service on a real port with real models.

mod common;
mod identity;
mod service;
