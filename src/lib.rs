//! Finds and repairs stale MCP-server references in a LiteLLM proxy's PostgreSQL database.
//!
//! Data flows one way: [`db`] loads rows, [`litellm`] tells what they mean, [`repair`] decides what
//! to change, [`db`] applies it, [`report`] writes the report. [`commands`] connects them.

pub mod cli;
pub mod commands;
pub mod db;
pub mod diagnosis;
pub mod exit;
pub mod failure;
pub mod litellm;
pub mod notify;
mod printable;
mod prose;
pub mod repair;
pub mod report;
pub mod shell;
pub mod usage_message;
