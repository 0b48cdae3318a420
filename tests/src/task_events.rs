//! What containerd tells its subscribers of tasks.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::image;
use crate::subject::Subject;
use crate::wait::{self, PATIENCE};

/// A subscriber, and what it was told.
#[derive(Debug)]
pub struct TaskEvents {
    daemon: Daemon,
    log: PathBuf,
}

// === impl TaskEvents ===

impl TaskEvents {
    /// Subscribes to the events of the containerd of `subject`.
    ///
    /// # Errors
    ///
    /// When no event is told.
    pub fn of(subject: &Subject<'_>) -> Outcome<Self> {
        let log = subject.logs.join("events.log");
        let daemon = Daemon::start(&mut subject.containerd.ctr(&["events"]), &log)?;
        let events = Self { daemon, log };
        // A subscriber has no sign that it is one; the first event it sees is.
        wait::until_true("a first event", PATIENCE, || {
            let label = subject.ctr(&["image", "label", image::BUSYBOX, "seen=yes"]);
            label.is_ok() && events.text().contains("/images/update")
        })?;
        Ok(events)
    }

    /// All events so far, those of images and containers as well, one in each line.
    #[must_use]
    pub fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Events of tasks so far: the topic's last word and the process' id.
    #[must_use]
    pub fn seen(&self) -> Vec<(String, String)> {
        let event = |line: &str| {
            let (_, rest) = line.split_once("/tasks/")?;
            let (topic, json) = rest.split_once(' ')?;
            let event: Value = serde_json::from_str(json).ok()?;
            let word = |name: &str| event.get(name).and_then(Value::as_str);
            let id = word("exec_id").or(word("id")).or(word("container_id"))?;
            Some((topic.to_owned(), id.to_owned()))
        };
        self.text().lines().filter_map(event).collect()
    }

    /// Waits for event `topic` of process `id`.
    ///
    /// # Errors
    ///
    /// When it does not come; names those that did.
    pub fn until(&self, topic: &str, id: &str) -> Outcome {
        wait::until_true(&format!("'{topic}' of '{id}'"), PATIENCE, || {
            self.seen().contains(&(topic.to_owned(), id.to_owned()))
        })
        .map_err(|failure| Failure::new(format!("{failure}; seen: {:?}", self.seen())))
    }

    /// Ends the subscription.
    ///
    /// # Errors
    ///
    /// When the subscriber cannot be stopped.
    pub fn stop(mut self) -> Outcome {
        self.daemon.stop().map(drop)
    }
}
