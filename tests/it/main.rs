//! The binary against a real database: one test program, so that it links once.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that panics has failed, and one that is skipped says so"
)]

mod access;
mod access_proof;
mod access_since;
mod access_trace;
mod array_shapes;
mod baseline;
mod cli;
mod concurrent;
mod config;
mod config_files;
mod connection;
mod credentials;
mod doctor;
mod drift;
#[cfg(feature = "embedded")]
mod dumps;
#[cfg(feature = "embedded")]
mod embedded;
mod encodings;
#[path = "../../benches/throughput/proxy.rs"]
mod far_away;
mod faults;
mod filters;
mod fixtures;
mod follow_up;
mod formats;
mod hints;
mod history;
mod hostile_names;
mod hostile_schema;
mod if_deleted;
mod journal_retention;
mod kit;
mod large_rows;
mod layout;
mod litellm_schema;
mod many_rows;
mod memory;
mod metrics;
mod mutated_plan;
#[cfg(feature = "redis")]
mod notify;
#[cfg(feature = "redis")]
mod notify_cluster;
#[cfg(feature = "redis")]
mod notify_sentinel;
mod options;
mod output;
mod partial_undo;
mod places;
mod plans;
mod planted;
mod pooler;
mod program;
mod proxy;
mod quiet;
mod readme;
mod recording;
#[cfg(feature = "redis")]
mod redis_server;
mod round_trips;
mod samples;
mod schemas;
mod server;
mod server_version;
mod site_variables;
mod soak;
mod sql_script;
mod standby;
mod step_diff;
mod terminal;
mod tls;
mod undo;
mod verbosity;
