//! Everything that talks to PostgreSQL: no other module uses sqlx.
//!
//! A statement without parameters is sent as it is (`raw_sql`), which takes one round trip where a
//! prepared one takes two; several of them go together (`batch`). Every query is
//! `persistent(false)`: a pooler in transaction mode hands the server connection to another client
//! next, and a named statement would stay behind on it.

pub(crate) mod access_callers;
pub(crate) mod access_context;
pub(crate) mod access_registry;
pub(crate) mod access_rows;
pub(crate) mod access_settings;
pub(crate) mod advisory_lock;
pub(crate) mod affected_owners;
pub(crate) mod array_bounds;
pub(crate) mod batch;
pub(crate) mod column_types;
pub(crate) mod columns;
pub(crate) mod connect;
pub(crate) mod connect_error;
pub(crate) mod connection_url;
pub(crate) mod credential_rows;
pub(crate) mod decode;
pub(crate) mod detect;
#[cfg(feature = "embedded")]
pub(crate) mod embedded;
pub(crate) mod encoding;
pub(crate) mod errors;
pub(crate) mod every_column;
pub(crate) mod fragments;
pub(crate) mod key_hashes;
pub(crate) mod lock_holders;
pub(crate) mod log_exposure;
pub(crate) mod lookup;
pub(crate) mod named_owners;
pub(crate) mod ordered_callers;
pub(crate) mod oversized;
pub(crate) mod owned_rows;
pub(crate) mod owners;
pub(crate) mod packed_owners;
pub(crate) mod privileges;
pub(crate) mod purpose;
#[cfg(debug_assertions)]
pub(crate) mod qualified;
pub(crate) mod reference_search;
pub(crate) mod relation_kinds;
pub(crate) mod repair_script;
pub(crate) mod rows;
pub(crate) mod savepoint;
pub(crate) mod schema;
pub(crate) mod server_status;
pub(crate) mod server_version;
pub(crate) mod servers;
pub(crate) mod session;
pub(crate) mod side_effects;
pub(crate) mod sql;
pub(crate) mod target_session;
pub(crate) mod transaction;
pub(crate) mod update;
pub(crate) mod verification;
