//! The binary against a real database: one test program, so that it links once.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that panics has failed, and one that is skipped says so"
)]

mod cli;
mod concurrent;
mod config;
mod connection;
mod doctor;
#[cfg(feature = "embedded")]
mod embedded;
mod faults;
mod fixtures;
mod formats;
mod kit;
mod litellm_schema;
#[cfg(feature = "redis")]
mod notify;
mod places;
mod pooler;
mod program;
mod proxy;
mod readme;
mod recording;
mod schemas;
mod server;
mod soak;
mod standby;
mod undo;
