//! Pausing, resuming and stopping: until all is done, nothing new appears, or time is up.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::containers::ending::Ending;
use crate::containers::freezer::Freezer;
use crate::containers::processes::{self, Host};
use crate::containers::{Found, Group, Names, PROC};

use super::ContainersError;

/// Longest time for everything.
const LIMIT: Duration = Duration::from_secs(15);
/// A launch that was permitted a moment ago brings its container this much later.
const QUIET: Duration = Duration::from_secs(2);
/// Between two looks: nothing tells when a container appears, stands still or ends.
const PAUSE: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Freeze.
    Pause,
    /// Thaw.
    Resume,
    /// Kill.
    Stop,
}

/// What became of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// It is as it should be, by us.
    Done,
    /// It was so before.
    Already,
    /// It is not.
    Failed(String),
}

/// A container and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handled {
    /// What it is called.
    pub(super) names: Names,
    /// Its first process.
    pub(super) pid: u32,
    /// What became of it.
    pub(super) end: End,
}

/// A container that something was done about.
#[derive(Debug)]
struct Target {
    group: Group,
    names: Names,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Freezing(Freezer),
    Dying(Ending),
    Over(End),
    /// It ended by itself, which is as good.
    Gone,
}

// === impl Action ===

impl Action {
    /// The word of the command.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
        }
    }

    /// What a container is after it.
    pub(super) const fn participle(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Stop => "stopped",
        }
    }

    /// What those were about which there was nothing to do.
    pub(super) const fn before(self) -> &'static str {
        match self {
            Self::Pause => "were paused before",
            Self::Resume => "were not paused",
            Self::Stop => "had ended before",
        }
    }
}

/// Does it to the containers called `ids`, or to all there are and all that appear meanwhile.
///
/// # Errors
///
/// If the containers cannot be found. What went wrong with one of them is in its own [`End`].
pub(super) fn carry_out(
    action: Action,
    ids: Option<&[String]>,
) -> Result<Vec<Handled>, ContainersError> {
    let begin = Instant::now();
    let mut targets: BTreeMap<(u64, u64), Target> = BTreeMap::new();
    let mut is_first = true;
    let mut last_change = begin;
    loop {
        let found = Found::now()?;
        let host = Host::of_this_process(Path::new(PROC))?;
        if !host.is_the_machines(Path::new(PROC)) {
            return Err(ContainersError::Elsewhere);
        }
        let wanted = wanted(&found, ids);
        if is_first && let Some(ids) = ids {
            all_are_known(ids, &wanted)?;
        }
        is_first = false;
        // A sandbox comes after what is in it.
        for (group, names) in wanted.into_iter().rev() {
            let key = (group.namespace, group.start_ticks);
            if targets.get(&key).is_none_or(Target::has_failed) {
                let stage = begun(action, group, &found, &host);
                // A failure that is tried again in vain is no change.
                if !matches!(stage, Stage::Over(End::Failed(_))) {
                    last_change = Instant::now();
                }
                let group = group.clone();
                targets.insert(
                    key,
                    Target {
                        group,
                        names,
                        stage,
                    },
                );
            }
        }
        for target in targets.values_mut() {
            target.look_again();
        }
        let is_pending = targets.values().any(Target::is_pending);
        // What failed is tried again: an exec that enters a container is the host's for a moment.
        let is_final = action == Action::Resume || ids.is_some();
        let is_final = is_final && !targets.values().any(Target::has_failed);
        let is_over = !is_pending && (is_final || last_change.elapsed() >= QUIET);
        if is_over || begin.elapsed() >= LIMIT {
            break;
        }
        thread::park_timeout(PAUSE);
    }
    Ok(targets.into_values().filter_map(Target::handled).collect())
}

fn wanted<'a>(found: &'a Found, ids: Option<&[String]>) -> Vec<(&'a Group, Names)> {
    found
        .containers
        .iter()
        .map(|group| (group, found.names_of(group)))
        .filter(|(_, names)| ids.is_none_or(|ids| ids.contains(&names.id)))
        .collect()
}

fn all_are_known(ids: &[String], wanted: &[(&Group, Names)]) -> Result<(), ContainersError> {
    let unknown = ids
        .iter()
        .find(|id| !wanted.iter().any(|(_, names)| names.id == **id));
    match unknown {
        Some(id) => Err(ContainersError::Unknown { id: id.clone() }),
        None => Ok(()),
    }
}

/// Does it to one, as far as that goes at once.
fn begun(action: Action, group: &Group, found: &Found, host: &Host) -> Stage {
    let proc = Path::new(PROC);
    let state = found.state_of(group);
    // With no runtime to say so, nothing tells it from a service that its manager confines so.
    if state.is_none() && group.cgroup.ends_with(".service") {
        let cause = format!(
            "cannot tell it from a service: its cgroup is '{}'",
            group.cgroup
        );
        return Stage::Over(End::Failed(cause));
    }
    let freezer = Freezer::of(proc, group.pid, state);
    let begun = match (action, freezer) {
        // One without a freezer cannot stand still either.
        (Action::Stop, freezer) => stop(group, freezer.ok().flatten()),
        (_, Err(error)) => Err(error.into()),
        (_, Ok(None)) => Ok(Stage::Gone),
        (Action::Pause, Ok(Some(freezer))) => pause(freezer, host),
        (Action::Resume, Ok(Some(freezer))) => resume(&freezer),
    };
    begun.unwrap_or_else(|error| failed(error.as_ref()))
}

fn pause(freezer: Freezer, host: &Host) -> Result<Stage, Box<dyn Error>> {
    if freezer.is_told_to_freeze()? && freezer.is_frozen()? {
        return Ok(Stage::Over(End::Already));
    }
    freezer.holds_no_process_of(host, Path::new(PROC))?;
    freezer.freeze()?;
    Ok(Stage::Freezing(freezer))
}

fn resume(freezer: &Freezer) -> Result<Stage, Box<dyn Error>> {
    if !freezer.is_told_to_freeze()? {
        return Ok(Stage::Over(End::Already));
    }
    freezer.thaw()?;
    Ok(Stage::Over(End::Done))
}

fn stop(group: &Group, freezer: Option<Freezer>) -> Result<Stage, Box<dyn Error>> {
    let Some(ending) = Ending::of(Path::new(PROC), group)? else {
        return Ok(Stage::Gone);
    };
    // It has its death sentence, and no time to run before that.
    if let Some(freezer) = freezer.filter(Freezer::holds_the_dying)
        && freezer.is_told_to_freeze()?
    {
        freezer.thaw()?;
    }
    Ok(Stage::Dying(ending))
}

fn failed(error: &dyn Error) -> Stage {
    let mut cause = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        cause.push_str(": ");
        cause.push_str(&inner.to_string());
        next = inner.source();
    }
    Stage::Over(End::Failed(cause))
}

// === impl Target ===

impl Target {
    fn has_failed(&self) -> bool {
        matches!(self.stage, Stage::Over(End::Failed(_)))
    }

    fn is_pending(&self) -> bool {
        matches!(self.stage, Stage::Freezing(_) | Stage::Dying(_))
    }

    /// Notes what has come of it meanwhile.
    fn look_again(&mut self) {
        let stage = match &self.stage {
            Stage::Freezing(freezer) => match freezer.is_frozen() {
                Ok(true) if self.has_ended() => Some(Stage::Gone),
                Ok(true) => Some(Stage::Over(End::Done)),
                Ok(false) => freezer.freeze().err().map(|error| failed(&error)),
                Err(error) => Some(failed(&error)),
            },
            Stage::Dying(ending) => match ending.is_over() {
                Ok(true) => Some(Stage::Over(End::Done)),
                Ok(false) => None,
                Err(error) => Some(failed(&error)),
            },
            // Tried again, but not once it is gone.
            Stage::Over(End::Failed(_)) if self.has_ended() => Some(Stage::Gone),
            Stage::Over(_) | Stage::Gone => None,
        };
        if let Some(stage) = stage {
            self.stage = stage;
        }
    }

    fn has_ended(&self) -> bool {
        processes::mount_namespace(Path::new(PROC), self.group.pid) != Some(self.group.namespace)
    }

    fn handled(self) -> Option<Handled> {
        let end = match self.stage {
            Stage::Gone => return None,
            Stage::Over(end) => end,
            Stage::Freezing(_) => End::Failed("it does not stand still yet".to_owned()),
            Stage::Dying(_) => End::Failed("it was killed and has not ended yet".to_owned()),
        };
        Some(Handled {
            names: self.names,
            pid: self.group.pid,
            end,
        })
    }
}
