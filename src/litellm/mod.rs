//! What LiteLLM stores and how it reads it: plain values and functions, no I/O.
//!
//! Paths in comments are below `litellm/proxy/` of the LiteLLM release named.

pub mod access;
pub mod config;
pub mod finding;
pub mod owners;
pub mod row;
pub mod server;
pub mod sites;
