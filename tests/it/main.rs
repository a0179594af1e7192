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
mod credentials;
mod doctor;
#[cfg(feature = "embedded")]
mod embedded;
mod faults;
mod fixtures;
mod formats;
mod kit;
mod litellm_schema;
mod metrics;
mod mutated_plan;
#[cfg(feature = "redis")]
mod notify;
mod output;
mod places;
mod planted;
mod pooler;
mod program;
mod proxy;
mod quiet;
mod readme;
mod recording;
mod schemas;
mod server;
mod soak;
mod standby;
mod terminal;
mod undo;
