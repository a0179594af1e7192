//! The callers whose access changes if a server is deleted, put aside so that memory does not grow
//! with their number.

use std::io;

use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::litellm::known_names::KnownNames;
use crate::litellm::owners::OwnerKind;
use crate::litellm::reference_sites::{ScannedTable, TOOLSETS};
use crate::report::named_owners::NamedOwners;
use crate::report::put_aside::PutAside;

/// A key, as reports show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AffectedKey {
    /// The first characters of its hash.
    pub id: String,
    /// Its alias.
    pub name: Option<String>,
}

/// What changes the access of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChangeCause {
    /// The deletion of the server, even if its references stay.
    Deletion,
    /// The removal of the references, if no list that runs empty is held.
    Removal,
}

/// A server that a caller loses or gains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangedServer {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// The tools that it loses or gains; null where not single tools are.
    pub tools: Option<Vec<String>>,
    /// What changes it.
    pub by: ChangeCause,
}

/// A caller whose access changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AffectedCaller {
    /// `key`, `keyless` or `session`.
    pub via: String,
    /// The key.
    pub key: Option<AffectedKey>,
    /// The team.
    pub team: Option<String>,
    /// The organization.
    pub organization: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The toolset on whose route it asks.
    pub toolset: Option<String>,
    /// The servers that it loses.
    pub loses: Vec<ChangedServer>,
    /// The servers that it gains.
    pub gains: Vec<ChangedServer>,
    /// Whether nothing that is not known may change the answer.
    pub complete: bool,
}

impl AffectedCaller {
    /// Names the caller for machines: its levels by their ids.
    #[must_use]
    pub(crate) fn shown(&self) -> String {
        self.shown_by("keyless caller", |kind, id| format!("{kind} {id}"))
    }

    /// Names the caller for people: its levels and its toolset by what people call them, where
    /// the report knows that.
    #[must_use]
    pub(crate) fn shown_named(&self, owners: NamedOwners<'_>, names: &KnownNames) -> String {
        self.shown_by("caller without a key", |kind, id| match kind {
            "team" => owners.shown(OwnerKind::Team, id),
            "organization" => owners.shown(OwnerKind::Organization, id),
            "user" => owners.shown(OwnerKind::User, id),
            "agent" => owners.shown(OwnerKind::Agent, id),
            _ => match names.row(ScannedTable::References(&TOOLSETS), id) {
                Some(name) => format!("{kind} {name}"),
                None => format!("{kind} {id}"),
            },
        })
    }

    fn shown_by(&self, without_key: &str, level: impl Fn(&str, &str) -> String) -> String {
        let mut shown = match (&self.key, self.via.as_str()) {
            (Some(key), _) => match &key.name {
                Some(name) => format!("key {name} ({})", key.id),
                None => format!("key {}", key.id),
            },
            (None, "session") => format!("session of {}", self.user.as_deref().unwrap_or("?")),
            (None, _) => without_key.to_owned(),
        };
        let user = self.user.as_ref().filter(|_| self.via != "session");
        for (kind, id) in [
            ("team", self.team.as_ref()),
            ("organization", self.organization.as_ref()),
            ("user", user),
            ("agent", self.agent.as_ref()),
            ("toolset", self.toolset.as_ref()),
        ] {
            if let Some(id) = id {
                shown = format!("{shown}, {}", level(kind, id));
            }
        }
        shown
    }
}

impl ChangedServer {
    /// Names the server and its tools for people.
    #[must_use]
    pub(crate) fn shown(&self) -> String {
        let name = self.name.as_deref().unwrap_or(&self.id);
        match &self.tools {
            None => name.to_owned(),
            Some(tools) if tools.is_empty() => format!("{name} (no tool)"),
            Some(tools) => format!("{name} ({})", tools.join(", ")),
        }
    }

    /// Says for people when it is gained.
    #[must_use]
    pub(crate) fn shown_gain(&self) -> String {
        let when = match self.by {
            ChangeCause::Deletion => "by the deletion itself",
            ChangeCause::Removal => "if its emptied list is not held",
        };
        format!("{} {when}", self.shown())
    }
}

/// The callers whose access changes, and how many were compared.
#[derive(Debug)]
pub(crate) struct AffectedCallers {
    compared: usize,
    losing: usize,
    gaining: usize,
    is_gain_by_removal: bool,
    is_uncertain: bool,
    callers: PutAside<AffectedCaller>,
}

impl AffectedCallers {
    /// Makes an empty collection.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            compared: 0,
            losing: 0,
            gaining: 0,
            is_gain_by_removal: false,
            is_uncertain: false,
            callers: PutAside::new(),
        }
    }

    /// Counts a caller that was compared; `complete` tells whether nothing that is not known may
    /// change the answer.
    pub(crate) fn count(&mut self, complete: bool) {
        self.compared += 1;
        self.is_uncertain |= !complete;
    }

    /// Adds a caller whose access changes.
    ///
    /// # Errors
    ///
    /// An I/O error if it cannot be put aside.
    pub(crate) fn add(&mut self, caller: &AffectedCaller) -> io::Result<()> {
        self.losing += usize::from(!caller.loses.is_empty());
        self.gaining += usize::from(!caller.gains.is_empty());
        let is_by_removal = |server: &ChangedServer| server.by == ChangeCause::Removal;
        self.is_gain_by_removal |= caller.gains.iter().any(is_by_removal);
        self.callers.add(caller)
    }

    /// Returns how many callers were compared.
    #[must_use]
    pub(crate) fn compared(&self) -> usize {
        self.compared
    }

    /// Tells whether nothing that is not known may change an answer.
    #[must_use]
    pub(crate) fn are_complete(&self) -> bool {
        !self.is_uncertain
    }

    /// Returns how many callers lose something.
    #[must_use]
    pub(crate) fn losing(&self) -> usize {
        self.losing
    }

    /// Returns how many callers gain something.
    #[must_use]
    pub(crate) fn gaining(&self) -> usize {
        self.gaining
    }

    /// Tells whether every gain comes from the deletion itself, so that it is certain.
    #[must_use]
    pub(crate) fn all_gain_by_deletion(&self) -> bool {
        !self.is_gain_by_removal
    }

    /// Hands every caller to `each`, in the order in which they were added.
    ///
    /// # Errors
    ///
    /// What `each` says, or an I/O error if they cannot be read back.
    pub(crate) fn each(
        &self,
        mut each: impl FnMut(AffectedCaller) -> io::Result<()>,
    ) -> io::Result<()> {
        self.callers.iter().try_for_each(|caller| each(caller?))
    }
}

/// Serializes as a list that is never in memory as a whole.
impl Serialize for AffectedCallers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for caller in self.callers.iter() {
            list.serialize_element(&caller.map_err(S::Error::custom)?)?;
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::spool::IN_MEMORY;

    fn caller(at: usize) -> AffectedCaller {
        let server = |by, tools| ChangedServer {
            id: "id-1".to_owned(),
            name: Some("github\n".to_owned()),
            tools,
            by,
        };
        AffectedCaller {
            via: "key".to_owned(),
            key: Some(AffectedKey {
                id: at.to_string(),
                name: None,
            }),
            team: Some("t".to_owned()),
            organization: None,
            user: None,
            agent: None,
            toolset: None,
            loses: vec![server(ChangeCause::Deletion, None)],
            gains: vec![server(ChangeCause::Removal, Some(vec!["a".to_owned()]))],
            complete: true,
        }
    }

    #[test]
    fn callers_that_were_put_aside_come_back_in_their_order() {
        let mut affected = AffectedCallers::new();
        let most = 20_000;
        for at in 0..most {
            affected.count(true);
            affected.add(&caller(at)).unwrap();
        }
        affected.count(false);
        assert!(!affected.are_complete());
        let counts = (affected.compared(), affected.losing(), affected.gaining());
        assert_eq!(counts, (most + 1, most, most));
        let mut at = 0;
        let mut bytes = 0;
        let read = affected.each(|found| {
            bytes += serde_json::to_vec(&found)?.len();
            assert_eq!(found, caller(at));
            at += 1;
            Ok(())
        });
        read.unwrap();
        assert_eq!(at, most);
        assert!(bytes > IN_MEMORY, "it should have gone to a file");
        let list = serde_json::to_value(&affected).unwrap();
        assert_eq!(list.as_array().unwrap().len(), most);
        let first = caller(0);
        assert_eq!(first.shown(), "key 0, team t");
        assert_eq!(first.gains[0].shown(), "github\n (a)");
        assert!(!affected.all_gain_by_deletion());
    }

    #[test]
    fn a_server_of_which_only_its_use_without_tools_changes_says_so() {
        let mut server = caller(0).gains.remove(0);
        server.tools = Some(Vec::new());
        assert_eq!(server.shown(), "github\n (no tool)");
    }
}
