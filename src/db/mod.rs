//! The only place that knows sqlx.
//!
//! A statement without parameters is sent as it is (`raw_sql`), which takes one round trip where a
//! prepared one takes two. Every query is `persistent(false)`: a named statement would stay behind on the server connection
//! that a pooler in transaction mode hands to somebody else next.

pub mod around;
pub mod detect;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod holders;
mod oversized;
pub mod read;
pub mod schema;
pub mod script;
pub mod servers;
pub mod session;
mod sql;
pub mod target;
pub mod tokens;
pub mod vitals;
pub mod whole;
pub mod write;
