//! The only place that knows sqlx.

#[cfg(feature = "embedded")]
pub mod embedded;
pub mod read;
pub mod schema;
pub mod script;
pub mod session;
mod sql;
pub mod target;
pub mod write;
