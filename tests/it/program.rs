//! Runs the binary in an environment of the test's own making.

use std::fmt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use mcp_prune::testing::Format;

/// What a run left behind.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Returns a command for the binary, with nothing of this machine's environment, and with journals
/// in the build's own folder.
pub(crate) fn mcp_prune(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-prune"));
    command
        .args(args)
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null());
    command
}

/// Lists the formats that every report has, by their names on the command line.
pub(crate) fn formats() -> impl Iterator<Item = &'static str> {
    let values = Format::value_variants().iter();
    let values = values.filter(|format| **format != Format::Sql);
    let values = values.filter_map(ValueEnum::to_possible_value);
    // A name is borrowed from its value; the few of a test program may stay.
    values.map(|value| &*value.get_name().to_owned().leak())
}

/// Runs the binary on the database at `url`.
#[must_use = "a run is checked by its exit status"]
pub(crate) fn run_on(url: &str, args: &[&str]) -> Ran {
    run(mcp_prune(args).env("DATABASE_URL", url))
}

/// How long a test waits for what another process does. A busy machine may take long over it; this
/// only ends a test that would wait for ever.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// Waits until `is_so`, which another process brings about.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < PATIENCE,
            "not so within five minutes: {what}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command to its end.
#[must_use = "a run is checked by its exit status"]
pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("the binary can be started");
    output.into()
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let killed = output.status.signal().map(|signal| -signal);
        Self {
            status: output.status.code().or(killed).unwrap_or(i32::MIN),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }
}

impl Ran {
    /// Parses the run's stdout as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Checks the exit status, and shows everything if it is another one.
    #[track_caller]
    pub(crate) fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Checks that stdout says `text`.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "expected {text:?} in {self}");
        self
    }

    /// Checks that stderr says `text`.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "expected {text:?} in {self}");
        self
    }
}

/// What a golden file holds of a run.
impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit status: {}", self.status)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                writeln!(f, "{name}:\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// Returns the path of a file of the repository.
pub(crate) fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
