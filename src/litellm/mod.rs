//! What LiteLLM stores and how it reads it: plain values and functions, no I/O.
//!
//! A comment that begins with "Source: LiteLLM" cites a release and a file below `litellm/` of its
//! wheel, such as `proxy/mcp_server/db.py`, and often a function in it. Before 1.109.0 the folder
//! `proxy/mcp_server/` was `proxy/_experimental/mcp_server/`.

pub(crate) mod access;
pub(crate) mod access_context;
pub(crate) mod api_key;
pub(crate) mod config;
pub(crate) mod credentials;
pub(crate) mod deleted_servers;
pub(crate) mod deny_marker;
pub(crate) mod empty_list_effect;
pub(crate) mod finding;
pub(crate) mod ids;
pub(crate) mod known_names;
pub(crate) mod last_grant;
pub(crate) mod notes;
pub(crate) mod owners;
pub(crate) mod packed_token;
pub(crate) mod packing;
pub(crate) mod proxy_cache;
pub(crate) mod reference_sites;
pub(crate) mod release;
pub(crate) mod row;
pub(crate) mod schema_drift;
pub(crate) mod server;
pub(crate) mod server_catalog;
#[cfg(test)]
pub(crate) mod test_support;
pub(crate) mod value;
