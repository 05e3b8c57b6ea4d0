//! Scenarios over real services and the real default models; one binary, so that the models are loaded once.

mod chat;
mod failure;
mod input;
mod load;
mod policy;
mod standalone;
mod support;
mod surface;
