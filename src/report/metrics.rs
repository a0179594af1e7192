//! The metrics of a run, in the text format of Prometheus and node_exporter's textfile collector.
//!
//! Names and labels may be added; none change, as in the JSON report.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::build_info;
use crate::report::summary::Tally;

const PREFIX: &str = "mcp_prune";

const COMMAND: &str = "command";

const LAST_SUCCESS: &str = "last_success_timestamp_seconds";

/// How a run went.
#[derive(Debug)]
pub(crate) struct Measured<'a> {
    /// The command.
    pub command: &'static str,
    /// The name of the run.
    pub run: &'a str,
    /// The exit code.
    pub exit_code: u8,
    /// How long it took.
    pub duration: Duration,
    /// When it ended, in Unix seconds.
    pub ended: i64,
    /// When this command last succeeded, in Unix seconds; `None` if that is not known.
    pub last_success: Option<i64>,
    /// What it found and did; `None` if it did not get that far.
    pub tally: Option<&'a Tally>,
}

/// Writes a run as the text of a `.prom` file.
///
/// Every metric is a gauge: each run replaces the numbers of the last.
///
/// # Errors
///
/// None; the formatter asks for it.
pub(crate) fn write(measured: &Measured<'_>) -> Result<String, fmt::Error> {
    let command = (Cow::from(COMMAND), Cow::from(measured.command));
    let mut registry = Registry::with_prefix_and_labels(PREFIX, [command].into_iter());
    info(
        &mut registry,
        ("build_info", "The mcp-prune that ran"),
        [
            ("version", build_info::VERSION),
            ("commit", build_info::COMMIT),
            ("target", build_info::TARGET),
            ("features", build_info::FEATURES),
        ],
    );
    info(
        &mut registry,
        ("run_info", "The last run, as reports and journals name it"),
        [("run", measured.run)],
    );
    let mut number = |name: &str, help: &str, value: i64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    number(
        "exit_code",
        "The exit code of the last run",
        measured.exit_code.into(),
    );
    number(
        "last_run_timestamp_seconds",
        "When the last run ended",
        measured.ended,
    );
    number(
        LAST_SUCCESS,
        "When a run last did its work, whatever it found or held; 0 for never",
        measured.last_success.unwrap_or(0),
    );
    if let Some(tally) = measured.tally {
        for (name, help, count) in [
            (
                "rows_changed",
                "Rows that the last run wrote",
                tally.rows_changed,
            ),
            (
                "rows_held",
                "Rows in which the last run held references",
                tally.rows_held,
            ),
            (
                "references_held",
                "Stale references that the last run held",
                tally.references_held,
            ),
            (
                "references_removed",
                "References that the last run removed",
                tally.references_removed,
            ),
            (
                "references_remapped",
                "References that the last run remapped",
                tally.references_remapped,
            ),
            (
                "baseline_gone",
                "References of the baseline that the last run no longer found",
                tally.baseline_gone,
            ),
        ] {
            if let Some(count) = count {
                number(name, help, i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }
    let duration = Gauge::<f64, AtomicU64>::default();
    duration.set(measured.duration.as_secs_f64());
    registry.register("duration_seconds", "How long the last run took", duration);
    if let Some(tally) = measured.tally {
        findings(&mut registry, tally);
    }
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// Registers how many findings of each kind there are, and how many of them are acknowledged.
fn findings(registry: &mut Registry, tally: &Tally) {
    let findings = tally.findings.as_ref();
    let acknowledged = tally.acknowledged.as_ref();
    for (name, help, found) in [
        (
            "findings",
            "Findings that are there after the last run, without those that its baseline acknowledges",
            findings,
        ),
        (
            "findings_acknowledged",
            "Findings that the baseline of the last run acknowledges",
            acknowledged,
        ),
    ] {
        let Some(found) = found else { continue };
        let family = Family::<[(&str, &str); 3], Gauge>::default();
        for (found, count) in found {
            let labels = [
                ("kind", found.kind),
                ("place", found.place),
                ("owner_kind", found.owner_kind),
            ];
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            family.get_or_create(&labels).set(count);
        }
        registry.register(name, help, family);
    }
}

/// Registers a metric whose label tells something, and whose value is always 1.
fn info<const N: usize>(
    registry: &mut Registry,
    (name, help): (&str, &str),
    labels: [(&'static str, &str); N],
) {
    let family = Family::<[(&str, String); N], Gauge>::default();
    let labels = labels.map(|(label, value)| (label, value.to_owned()));
    family.get_or_create(&labels).set(1);
    registry.register(name, help, family);
}

/// Reads from the text of an earlier `.prom` file when `command` last succeeded.
#[must_use]
pub(crate) fn last_success(text: &str, command: &str) -> Option<i64> {
    let series = format!("{PREFIX}_{LAST_SUCCESS}{{{COMMAND}=\"{command}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series))?;
    value.trim().parse().ok().filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(last_success: Option<i64>) -> Measured<'static> {
        Measured {
            command: "fix",
            run: "1a2b3c4d",
            exit_code: 7,
            duration: Duration::from_millis(1500),
            ended: 1_767_323_045,
            last_success,
            tally: None,
        }
    }

    #[test]
    fn a_failed_run_says_when_the_last_one_succeeded() {
        for last in [Some(1_767_236_645), None] {
            let text = write(&measured(last)).unwrap();
            assert_eq!(last_success(&text, "fix"), last, "{text}");
            assert_eq!(last_success(&text, "scan"), None, "another's");
            for line in [
                r#"mcp_prune_exit_code{command="fix"} 7"#,
                r#"mcp_prune_duration_seconds{command="fix"} 1.5"#,
                r#"mcp_prune_run_info{command="fix",run="1a2b3c4d"} 1"#,
            ] {
                assert!(text.lines().any(|found| found == line), "{line} in {text}");
            }
            assert!(
                !text.contains("findings"),
                "nothing is known of them: {text}"
            );
        }
    }

    #[test]
    fn what_is_no_such_file_tells_nothing() {
        for text in [
            "",
            "garbage",
            "mcp_prune_last_success_timestamp_seconds{command=\"fix\"} x",
        ] {
            assert_eq!(last_success(text, "fix"), None);
        }
    }
}
