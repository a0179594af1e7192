//! Tells the program what it is built from: the commit, the target and the Cargo features, for
//! `--version`, `doctor` and metrics. It runs no other program, so it works without git.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // For a build without the folder `.git`, such as that of the image.
    println!("cargo::rerun-if-env-changed=MCP_PRUNE_BUILD_COMMIT");
    let given = env::var("MCP_PRUNE_BUILD_COMMIT").ok();
    let commit = given.filter(|commit| is_commit(commit)).or_else(head);
    let prefix = "CARGO_FEATURE_";
    let mut features: Vec<String> = env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix(prefix)?.to_lowercase()))
        .collect();
    features.sort();
    if features.is_empty() {
        features.push("none".to_owned());
    }
    for (name, value) in [
        ("COMMIT", commit.unwrap_or_else(|| "unknown".to_owned())),
        ("TARGET", env::var("TARGET").unwrap_or_default()),
        ("FEATURES", features.join(",")),
    ] {
        println!("cargo::rustc-env=BUILD_{name}={value}");
    }
}

fn is_commit(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Reads a file of git, and has Cargo run this again when the file changes. Cargo would run it at
/// every build if it watched a file that is not there.
fn watched(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    println!("cargo::rerun-if-changed={}", path.display());
    Some(text.trim_end().to_owned())
}

/// Reads the commit of this checkout or worktree. Returns `None` outside of one: the folder of a
/// repository that holds the source of this crate among others is not looked for.
fn head() -> Option<String> {
    let mut git = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?).join(".git");
    if let Ok(worktree) = fs::read_to_string(&git) {
        // An absolute path replaces what it is joined to.
        git = git
            .parent()?
            .join(worktree.trim_end().strip_prefix("gitdir: ")?);
    }
    let head = watched(&git.join("HEAD"))?;
    let commit = match head.strip_prefix("ref: ") {
        None => head,
        Some(branch) => {
            // Each commit adds a line to this log. A branch whose file is not there yet gets one.
            watched(&git.join("logs/HEAD"));
            let shared = fs::read_to_string(git.join("commondir")).unwrap_or_default();
            let shared = git.join(shared.trim_end());
            watched(&shared.join(branch)).or_else(|| {
                let packed = watched(&shared.join("packed-refs"))?;
                let mut refs = packed.lines().filter_map(|line| line.split_once(' '));
                let (commit, _) = refs.find(|(_, name)| *name == branch)?;
                Some(commit.to_owned())
            })?
        }
    };
    is_commit(&commit).then_some(commit)
}
