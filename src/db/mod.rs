//! The only place that knows sqlx.

pub mod read;
pub mod schema;
pub mod session;
mod sql;
pub mod write;
