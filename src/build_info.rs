//! What this program was built from. `build.rs` finds out the commit, the target and the features.

/// The version of the package.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The whole id of the commit, or `unknown` for a build outside of a checkout.
pub(crate) const COMMIT: &str = env!("BUILD_COMMIT");

/// The target that the program was compiled for.
pub(crate) const TARGET: &str = env!("BUILD_TARGET");

/// The Cargo features, with commas in between, or `none`.
pub(crate) const FEATURES: &str = env!("BUILD_FEATURES");

/// All of it, as `--version` prints it after the name of the program. `-V` prints only the version.
pub(crate) const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("BUILD_COMMIT"),
    "\ntarget: ",
    env!("BUILD_TARGET"),
    "\nfeatures: ",
    env!("BUILD_FEATURES"),
);
