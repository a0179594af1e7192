//! What the commands share: what is known of servers, filters, the planner, comparisons of access,
//! and all that writes.

pub(crate) mod access_basis;
pub(crate) mod access_proof;
pub(crate) mod apply_changes;
pub(crate) mod baseline_files;
pub(crate) mod cache_invalidation;
pub(crate) mod candidate_rows;
pub(crate) mod catalog_warnings;
pub(crate) mod changeset_file;
pub(crate) mod commit;
pub(crate) mod config_files;
pub(crate) mod connect;
pub(crate) mod csv_error;
pub(crate) mod deletion_effects;
pub(crate) mod empty_list_search;
pub(crate) mod filters;
pub(crate) mod given_servers;
pub(crate) mod journal_folder;
pub(crate) mod journal_retention;
pub(crate) mod linked_owners;
pub(crate) mod live_references;
pub(crate) mod lock_retry;
pub(crate) mod named_files;
pub(crate) mod planned_rows;
pub(crate) mod planner;
pub(crate) mod preconditions;
pub(crate) mod remaps;
pub(crate) mod repeat_options;
pub(crate) mod same_database;
pub(crate) mod saved_access;
pub(crate) mod saved_access_comparison;
pub(crate) mod saved_plan;
pub(crate) mod script_rows;
pub(crate) mod server_sources;
pub(crate) mod survey;
pub(crate) mod undo_part;
pub(crate) mod undo_script_file;
pub(crate) mod unmatched_references;
pub(crate) mod write_run;

/// How many rows are read, planned, locked and written at a time.
pub(crate) const CHUNK: usize = 2_000;

/// For how many rows owners are read at a time; a scan takes twice as many, a script a quarter.
/// Each time, the whole table of keys is read, so it is for many chunks at once. If there would be
/// many such parts, [`linked_owners`] reads all owners once instead.
pub(crate) const OWNED: usize = 20 * CHUNK;
