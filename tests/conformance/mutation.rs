//! Switches between the decisions of the model and their mutations. Only in the copy that
//! `tests/conformance/mutate` builds.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// The mutation that is on; 0 is none.
static ON: AtomicU32 = AtomicU32::new(u32::MAX);

/// The mutations that have changed an answer.
static NOTICED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn from_environment(name: &str) -> Vec<u32> {
    let numbers = std::env::var(name).unwrap_or_default();
    numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Tells whether a mutation is on: for the whole process where the environment says so.
pub(crate) fn is_on(mutation: u32) -> bool {
    if ON.load(Ordering::Relaxed) == u32::MAX {
        let first = from_environment("MUTATION").first().copied();
        ON.store(first.unwrap_or(0), Ordering::Relaxed);
    }
    ON.load(Ordering::Relaxed) == mutation
}

/// Answers with each mutation of the environment in turn, and names those that change the answer.
pub(crate) fn sweep<T: PartialEq>(answer: impl Fn() -> T) {
    static ASKED: std::sync::OnceLock<Vec<u32>> = std::sync::OnceLock::new();
    let asked = ASKED.get_or_init(|| from_environment("MUTATIONS"));
    let Ok(mut noticed) = NOTICED.lock() else { return };
    if asked.is_empty() {
        return;
    }
    ON.store(0, Ordering::Relaxed);
    let right = answer();
    for &mutation in asked {
        if !noticed.contains(&mutation) {
            ON.store(mutation, Ordering::Relaxed);
            if answer() != right {
                noticed.insert(mutation);
                eprintln!("noticed {mutation}");
            }
        }
    }
    ON.store(0, Ordering::Relaxed);
}
