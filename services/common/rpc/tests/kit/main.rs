//! The kit as its users see it: a real server, real connections, and a toy service that does what tests ask of it.

mod admin;
mod calls;
mod drain;
mod health;
mod limits;
mod tls;
mod toy;
