//! What would change for a caller, as `access` tells it after the trace.

use std::io::{self, Write};

use serde::Serialize;

use crate::command_line::CommandLine;
use crate::litellm::ids::AccessGroupId;
use crate::printable::one_line;
use crate::report::access::ShownReference;
use crate::report::access_changes::{ShownServerDifference, shown};
use crate::report::count;
use crate::report::text_table::DisplayOptions;

/// What would change.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShownWhatIf {
    /// If the stale references of the caller's levels went; null where there are none.
    pub without_stale: Option<WithoutStale>,
    /// If the key were saved in the dashboard now; null for a caller without a key.
    pub if_saved: Option<IfSaved>,
    /// The command that shows the repair of the stale references; null where there are none.
    #[serde(serialize_with = "as_text")]
    pub command: Option<CommandLine>,
}

/// The stale references of one owner.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StaleOwner {
    /// The kind of the owner.
    pub kind: &'static str,
    /// Its id; of a key the first characters of the hash.
    pub id: String,
    /// The references.
    pub references: Vec<String>,
}

/// What would change without the stale references.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WithoutStale {
    /// The owners whose rows hold them.
    pub owners: Vec<StaleOwner>,
    /// What the caller would gain.
    pub gained: Vec<ShownServerDifference>,
    /// What it would lose.
    pub lost: Vec<ShownServerDifference>,
}

/// What LiteLLM would do if the dashboard saved the key.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct IfSaved {
    /// The references because of which it answers 403.
    pub refused_by: Vec<ShownReference>,
    /// The unified access groups because of which everybody but a proxy admin gets 403.
    pub refused_by_groups: Vec<AccessGroupId>,
    /// The references that it drops.
    pub dropped: Vec<String>,
    /// The references that it drops unless a config server answers to them.
    pub perhaps_dropped: Vec<String>,
    /// What the key would gain.
    pub gained: Vec<ShownServerDifference>,
    /// What it would lose.
    pub lost: Vec<ShownServerDifference>,
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn as_text<S: serde::Serializer>(
    command: &Option<CommandLine>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = command.as_ref().map(CommandLine::to_string);
    text.serialize(serializer)
}

/// Writes what would change, and what to do.
pub(crate) fn write(
    what_if: &ShownWhatIf,
    look: DisplayOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "  What would change:")?;
    let indented = DisplayOptions {
        width: look.width.map(|width| width.saturating_sub(6)),
        ..look
    };
    for sentence in what_if.sentences() {
        let text = indented.prose(&one_line(&sentence));
        for (at, line) in text.lines().enumerate() {
            let bullet = if at == 0 { "    - " } else { "      " };
            writeln!(out, "{bullet}{line}")?;
        }
    }
    if let Some(command) = &what_if.command {
        writeln!(out, "  To repair it, look at this dry run first:")?;
        writeln!(out, "    {command}")?;
        for note in command.notes() {
            writeln!(out, "  {}", one_line(note))?;
        }
    }
    Ok(())
}

impl ShownWhatIf {
    fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        match &self.without_stale {
            None => sentences.push("no stale reference is on its levels".to_owned()),
            Some(without) => {
                let owners = without.owners.iter().map(|owner| {
                    let kind = owner.kind.replace('_', " ");
                    let stale = count(owner.references.len(), "stale reference");
                    format!("{stale} of {kind} {}", owner.id)
                });
                let owners: Vec<String> = owners.collect();
                let effect = effect(&without.gained, &without.lost);
                sentences.push(format!(
                    "without the {}, {effect}",
                    owners.join(" and the ")
                ));
            }
        }
        if let Some(saved) = &self.if_saved {
            saved.tell(&mut sentences);
        }
        sentences
    }
}

impl IfSaved {
    fn tell(&self, sentences: &mut Vec<String>) {
        let now = "if the key were saved in the dashboard now,";
        if !self.refused_by.is_empty() {
            let refused = self.refused_by.iter();
            let refused = refused.map(|name| match name.verdict {
                "live" => name.reference.clone(),
                verdict => format!("{} ({verdict})", name.reference),
            });
            let refused: Vec<String> = refused.collect();
            sentences.push(format!(
                "{now} LiteLLM would answer 403, because neither its team nor every key may use {}",
                refused.join(", ")
            ));
        }
        if !self.refused_by_groups.is_empty() {
            let groups = self.refused_by_groups.iter().map(AccessGroupId::as_str);
            let groups: Vec<&str> = groups.collect();
            sentences.push(format!(
                "{now} LiteLLM would answer 403 to everybody but a proxy admin, because its team \
                 lacks unified access group {}: give the group to the team, or take it off the key",
                groups.join(", ")
            ));
        }
        if !self.dropped.is_empty() {
            let dropped = self.dropped.join(", ");
            let effect = effect(&self.gained, &self.lost);
            sentences.push(format!("{now} LiteLLM would drop {dropped}, and {effect}"));
        }
        if !self.perhaps_dropped.is_empty() {
            let dropped = self.perhaps_dropped.join(", ");
            sentences.push(format!(
                "{now} LiteLLM would drop {dropped} too, unless a server of a config.yaml answers \
                 to it"
            ));
        }
        let is_kept = self.refused_by.is_empty()
            && self.refused_by_groups.is_empty()
            && self.dropped.is_empty()
            && self.perhaps_dropped.is_empty();
        if is_kept {
            sentences.push(format!("{now} its servers would stay as they are"));
        }
    }
}

/// Tells what a caller would gain and lose.
fn effect(gained: &[ShownServerDifference], lost: &[ShownServerDifference]) -> String {
    match (gained.is_empty(), lost.is_empty()) {
        (true, true) => "it may use the same servers and tools".to_owned(),
        (false, true) => format!("it would gain {}", shown(gained, ", ")),
        (true, false) => format!("it would lose {}", shown(lost, ", ")),
        (false, false) => format!(
            "it would gain {}, and lose {}",
            shown(gained, ", "),
            shown(lost, ", ")
        ),
    }
}
