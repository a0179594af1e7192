//! The only place that knows sqlx.
//!
//! A statement without parameters is sent as it is (`raw_sql`), which takes one round trip where a
//! prepared one takes two. Every query is `persistent(false)`: a named statement would stay behind on the server connection
//! that a pooler in transaction mode hands to somebody else next.

pub mod access_callers;
pub mod access_registry;
pub mod access_rows;
pub mod access_settings;
pub mod around;
mod array_bounds;
mod column_types;
mod connect_error;
mod decode;
pub mod detect;
#[cfg(feature = "embedded")]
pub mod embedded;
mod encoding;
pub mod holders;
pub mod lock_holders;
pub mod log_exposure;
pub mod named_owners;
mod oversized;
#[cfg(debug_assertions)]
mod qualified;
pub mod read;
mod relation_kinds;
pub mod schema;
pub mod servers;
pub mod session;
pub mod side_effects;
mod sql;
pub mod target;
pub mod tokens;
pub mod verification;
pub mod vitals;
pub mod whole;
pub mod write;
