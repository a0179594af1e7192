//! Merges saved access with the present access, caller by caller, without holding either in memory.

use std::cmp::Ordering;
use std::io;
use std::iter::Peekable;

use crate::litellm::access::Access;
use crate::litellm::access::difference::{AccessDifference, ChangedTools, ServerDifference};
use crate::litellm::ids::ServerId;
use crate::report::access::{CallerAccess, ShownServer};
use crate::report::access_changes::{
    CallerChange, CallerFate, ChangeCounts, ChangeStep, CompleteAnswers, ShownServerDifference,
};
use crate::workflow::saved_access::{CallerPlace, SavedCaller};

/// A caller of now, with its place in the order.
#[derive(Debug, Clone)]
pub(crate) struct PlacedAccess {
    /// Its place.
    pub place: CallerPlace,
    /// What it may use.
    pub access: CallerAccess,
}

/// A comparison on its way: both sides are in the same order.
pub(crate) struct SavedComparison<T, N>
where
    T: Iterator<Item = io::Result<SavedCaller>>,
    N: Iterator<Item = Result<PlacedAccess, ()>>,
{
    then: Peekable<T>,
    now: Peekable<N>,
    counts: ChangeCounts,
}

impl<T, N> SavedComparison<T, N>
where
    T: Iterator<Item = io::Result<SavedCaller>>,
    N: Iterator<Item = Result<PlacedAccess, ()>>,
{
    /// Begins to compare.
    pub(crate) fn between(then: T, now: N) -> Self {
        Self {
            then: then.peekable(),
            now: now.peekable(),
            counts: ChangeCounts::default(),
        }
    }

    /// Returns the next change.
    ///
    /// # Errors
    ///
    /// The saved file can no longer be read.
    pub(crate) fn step(&mut self) -> io::Result<ChangeStep> {
        loop {
            let order = match (self.then.peek(), self.now.peek()) {
                (None, None) => return Ok(ChangeStep::End(self.counts)),
                (_, Some(Err(()))) => return Ok(ChangeStep::Cut),
                (Some(Ok(_)), None) | (Some(Err(_)), _) => Ordering::Less,
                (None, Some(Ok(_))) => Ordering::Greater,
                (Some(Ok(then)), Some(Ok(now))) => then.place.cmp(&now.place),
            };
            let then = if order == Ordering::Greater {
                None
            } else {
                self.then.next().transpose()?
            };
            let now = if order == Ordering::Less {
                None
            } else {
                self.now.next().and_then(Result::ok)
            };
            let now = now.map(|now| now.access);
            if let Some(change) = self.compare(then, now) {
                return Ok(ChangeStep::Changed(Box::new(change)));
            }
        }
    }

    /// Compares what one caller could use then with what it may use now.
    fn compare(
        &mut self,
        then: Option<SavedCaller>,
        now: Option<CallerAccess>,
    ) -> Option<CallerChange> {
        let none = Vec::new();
        let before = then.as_ref().map_or(&none, |then| &then.servers);
        let after = now.as_ref().map_or(&none, |now| &now.servers);
        let found = AccessDifference::between(&allowed(before), &allowed(after));
        let name = |id: &ServerId| {
            let mut servers = after.iter().chain(before);
            servers.find(|server| server.id == *id)?.name.clone()
        };
        let (gained, lost) = gained_and_lost(found.as_ref(), name);
        let complete = CompleteAnswers {
            then: then.as_ref().map(|then| then.complete),
            now: now.as_ref().map(|now| now.complete),
        };
        let counts = &mut self.counts;
        counts.callers += usize::from(now.is_some());
        counts.callers_then += usize::from(then.is_some());
        counts.gained += usize::from(!gained.is_empty());
        counts.lost += usize::from(!lost.is_empty());
        counts.incomplete += usize::from(complete.lack_something());
        let (change, who, denied_by) = match (then, now) {
            (None, None) => return None,
            (Some(_), Some(_)) if found.is_none() => {
                counts.unchanged += 1;
                return None;
            }
            (Some(_), Some(now)) => (CallerFate::Changed, now.who, now.denied_by),
            (None, Some(now)) => {
                counts.new += 1;
                (CallerFate::New, now.who, now.denied_by)
            }
            (Some(then), None) => {
                counts.gone += 1;
                (CallerFate::Gone, then.caller, None)
            }
        };
        Some(CallerChange {
            who,
            change,
            gained,
            lost,
            complete,
            denied_by,
        })
    }
}

/// Returns the answer with these servers.
fn allowed(servers: &[ShownServer]) -> Access {
    let servers = servers.iter().map(|server| {
        let tools = server.tools.as_ref();
        let tools = tools.map(|tools| tools.iter().cloned().collect());
        (server.id.clone(), tools)
    });
    Access {
        servers: servers.collect(),
        ..Access::default()
    }
}

/// Lists what a caller gains and what it loses, with the names of servers.
pub(crate) fn gained_and_lost(
    difference: Option<&AccessDifference>,
    name: impl Fn(&ServerId) -> Option<String>,
) -> (Vec<ShownServerDifference>, Vec<ShownServerDifference>) {
    let listed = |part: fn(&ServerDifference) -> Option<ChangedTools>| {
        let servers = difference.into_iter().flat_map(|difference| &difference.0);
        let changed = servers.filter_map(|(id, server)| {
            let ChangedTools { tools, except } = part(server)?;
            Some(ShownServerDifference {
                id: id.clone(),
                name: name(id),
                tools: tools.map(|tools| tools.into_iter().collect()),
                except: except.into_iter().collect(),
            })
        });
        changed.collect()
    };
    (
        listed(ServerDifference::gained),
        listed(ServerDifference::lost),
    )
}
