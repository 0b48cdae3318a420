//! Cases, and how they are played: one after the other, on one host.

use std::fs;

use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::refusal::Refusal;
use portcullis_tests::world::{World, measured};

use super::scene::Scene;

/// One hostile request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// What is asked for.
    pub(crate) name: &'static str,
    /// What must come of it.
    pub(crate) expected: Expected,
    /// Asks for it.
    pub(crate) ask: fn(&Scene) -> Outcome<Answer>,
}

/// What must come of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// A refusal: kind and code, and what the line must say beside.
    Refused(&'static str, &'static str),
    /// It runs, and the kernel holds of it what the profile says.
    Clamped,
    /// As `Refused`, on a host that confines by AppArmor. Elsewhere the case is not played: the
    /// runtimes themselves cannot start what names a profile.
    ByAppArmor(&'static str, &'static str),
}

/// What came of a case.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The gate said no.
    Refused(Refusal),
    /// It ran as the profile says.
    Clamped,
    /// It ran, and this is beyond the profile.
    Started(String),
}

/// What came of the cases.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: Vec<String>,
    cases: usize,
    clamped: usize,
    /// What started without being within the profile, or should not have started at all.
    starts: usize,
    wrong: Vec<String>,
}

/// Whether the host confines by AppArmor, as `/sys/module/apparmor` says.
fn has_apparmor() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.trim() == "Y")
}

// === impl Answer ===

impl Answer {
    /// The refusal in what a client was told.
    pub(crate) fn refused(text: &str) -> Outcome<Self> {
        Refusal::find(text).map(Self::Refused)
    }

    /// What was found of a process that runs.
    pub(crate) fn ran(differences: &[String]) -> Self {
        if differences.is_empty() {
            Self::Clamped
        } else {
            Self::Started(differences.join("; "))
        }
    }
}

// === impl Table ===

impl Table {
    /// Plays `cases` on one host with OCI runtime `binary`, prints the table, and fails unless
    /// each came out as it must.
    pub(crate) fn play(world: &World, binary: &str, title: &str, cases: &[Case]) -> Outcome {
        let scene = Scene::provision(world, binary)?;
        let mut table = Self::default();
        for case in cases {
            table.play_one(case, &scene);
        }
        // A host that refuses everything would pass the table.
        let honest = scene.node.starts();
        table.text(binary, title).lines().for_each(measured);
        if !table.wrong.is_empty() {
            return Err(Failure::new(table.wrong.join("\n")));
        }
        honest.doing("start an ordinary container after the cases")?;
        scene.finish()
    }

    fn play_one(&mut self, case: &Case, scene: &Scene) {
        if matches!(case.expected, Expected::ByAppArmor(..)) && !has_apparmor() {
            let name = case.name;
            return self
                .lines
                .push(format!("{name:<58} not played: no AppArmor here"));
        }
        self.cases += 1;
        let (found, is_right) = match ((case.ask)(scene), case.expected) {
            (
                Ok(Answer::Refused(refusal)),
                Expected::Refused(code, says) | Expected::ByAppArmor(code, says),
            ) => {
                let is_right = refusal.short() == code && refusal.line.contains(says);
                let found = if is_right {
                    format!("{code} {says}")
                } else {
                    refusal.line
                };
                (found, is_right)
            }
            (Ok(Answer::Refused(refusal)), _) => (refusal.line, false),
            (Ok(Answer::Clamped), Expected::Clamped) => {
                self.clamped += 1;
                ("runs within the profile".to_owned(), true)
            }
            (Ok(Answer::Clamped), _) => {
                self.starts += 1;
                ("started".to_owned(), false)
            }
            (Ok(Answer::Started(differences)), _) => {
                self.starts += 1;
                (format!("started: {differences}"), false)
            }
            (Err(failure), _) => (format!("no refusal: {failure}"), false),
        };
        if !is_right {
            let expected = case.expected;
            self.wrong.push(format!(
                "{}: expected {expected:?}, found '{found}'",
                case.name
            ));
        }
        self.lines.push(format!("{:<58} {found}", case.name));
    }

    fn text(&self, binary: &str, title: &str) -> String {
        format!(
            "hostile requests {title}, with {binary}:\n{}\n{} cases, {} refused, {} within the profile, {} hostile starts",
            self.lines.join("\n"),
            self.cases,
            self.cases - self.clamped - self.wrong.len(),
            self.clamped,
            self.starts
        )
    }
}
