//! Times whole processes in alternating pairs: what slows the machine down slows both.

use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// How often a process is asked for its peak memory.
const POLL: Duration = Duration::from_millis(2);

/// A process to time, made anew for each run.
pub(crate) struct Work<'a> {
    /// Brings the database into the state to start from; not timed.
    pub(crate) prepare: Box<dyn Fn() -> Result<()> + 'a>,
    /// The process.
    pub(crate) command: Box<dyn Fn() -> Command + 'a>,
    /// The exit codes that mean that it did its work.
    pub(crate) succeeds: &'static [i32],
}

impl<'a> Work<'a> {
    /// Returns a process that changes nothing.
    pub(crate) fn reading(command: impl Fn() -> Command + 'a, succeeds: &'static [i32]) -> Self {
        Self {
            prepare: Box::new(|| Ok(())),
            command: Box::new(command),
            succeeds,
        }
    }
}

/// What the runs of one process took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs {
    seconds: Vec<f64>,
    peaks: Vec<u32>,
}

impl Runs {
    /// Returns the median time in seconds.
    pub(crate) fn median(&self) -> f64 {
        let mut seconds = self.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Returns the fastest and the slowest run, in seconds.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let fold = |by: fn(f64, f64) -> f64| self.seconds.iter().copied().fold(f64::NAN, by);
        (fold(f64::min), fold(f64::max))
    }

    /// Returns the most memory that any run had resident, in MiB.
    pub(crate) fn peak(&self) -> f64 {
        f64::from(self.peaks.iter().copied().max().unwrap_or_default()) / 1024.0
    }

    fn add(&mut self, work: &Work<'_>) -> Result<()> {
        (work.prepare)()?;
        let (seconds, peak) = run(work)?;
        self.seconds.push(seconds);
        self.peaks.push(peak);
        Ok(())
    }
}

/// Runs a process once, for what is counted and not timed: its memory.
pub(crate) fn once(work: &Work<'_>) -> Result<Runs> {
    let mut found = Runs::default();
    found.add(work)?;
    Ok(found)
}

/// Times one process a few times, after a run that is not counted.
pub(crate) fn alone(work: &Work<'_>, runs: u32) -> Result<Runs> {
    Runs::default().add(work)?;
    let mut found = Runs::default();
    for _ in 0..runs {
        found.add(work)?;
    }
    Ok(found)
}

/// Times two processes in turn (ABAB...), after a run of each that is not counted.
pub(crate) fn pairs(a: &Work<'_>, b: &Work<'_>, pairs: u32) -> Result<(Runs, Runs)> {
    Runs::default().add(a)?;
    Runs::default().add(b)?;
    let (mut of_a, mut of_b) = (Runs::default(), Runs::default());
    for _ in 0..pairs {
        of_a.add(a)?;
        of_b.add(b)?;
    }
    Ok((of_a, of_b))
}

/// Runs a process to its end; returns the seconds and the peak of memory in KiB. Its output goes to
/// a file, as it would in a script.
fn run(work: &Work<'_>) -> Result<(f64, u32)> {
    let mut command = (work.command)();
    let printed = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("printed");
    let errors = printed.with_extension("errors");
    command
        .stdin(Stdio::null())
        .stdout(File::create(&printed)?)
        .stderr(File::create(&errors)?);
    let start = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let id = child.id();
    let ended = AtomicBool::new(false);
    let (status, peak) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while !ended.load(Ordering::Relaxed) {
                peak = resident(id).max(peak);
                std::thread::sleep(POLL);
            }
            peak
        });
        let status = child.wait();
        let seconds = start.elapsed().as_secs_f64();
        ended.store(true, Ordering::Relaxed);
        (
            status.map(|status| (status, seconds)),
            watch.join().unwrap_or_default(),
        )
    });
    let (status, seconds) = status?;
    ensure!(
        status
            .code()
            .is_some_and(|code| work.succeeds.contains(&code)),
        "{command:?} ended with {status}: {}",
        std::fs::read_to_string(&errors)?
    );
    Ok((seconds, peak))
}

/// Returns the most memory that a process has had resident so far, in KiB; 0 without `/proc`. The
/// kernel keeps the peak, so asking every few milliseconds misses little.
fn resident(process: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    status
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or_default()
}
