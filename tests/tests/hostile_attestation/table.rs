//! Cases, and how they are played: one after the other, on one host.

use portcullis_tests::carrier::Carrier;
use portcullis_tests::failure::{Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::world::{World, measured};

use super::forgery::Forger;

/// One hostile case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// What is done, as `docs/threat-model.md` would put it.
    pub(crate) name: &'static str,
    /// The refusal that must come of it: kind and code.
    pub(crate) expected: &'static str,
    /// Does it, and tries to start a container.
    pub(crate) attack: fn(&mut Scene) -> Outcome<Refusal>,
    /// Brings trust back.
    pub(crate) mend: fn(&mut Scene) -> Outcome,
}

/// Where it happens.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The host, with root under foreign control.
    pub(crate) node: Node,
    /// Sits between shim and agent.
    pub(crate) carrier: Option<Carrier>,
    /// A verifier whose key is pinned too: it makes tokens as a verifier gone wrong would.
    pub(crate) forger: Forger,
}

/// What came of the cases.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: Vec<String>,
    cases: usize,
    /// Cases without a refusal, whatever happened instead.
    starts: usize,
    again: usize,
    wrong: Vec<String>,
}

// === impl Table ===

impl Table {
    /// Plays `cases` on one host, prints the table, and fails unless each was refused as it must
    /// be and a container started after it.
    pub(crate) fn play(world: &World, title: &str, cases: &[Case]) -> Outcome {
        let node = Node::provision(world)?;
        let forger = Forger::pin(&node)?;
        let carrier = Some(Carrier::start()?);
        let mut scene = Scene {
            node,
            carrier,
            forger,
        };
        // Of what the agent gives honestly, the cases are made.
        scene.node.starts()?;
        let mut table = Self::default();
        for case in cases {
            table.play_one(case, &mut scene);
        }
        table.text(title).lines().for_each(measured);
        drop(scene.carrier.take());
        scene.node.finish()?;
        if table.wrong.is_empty() {
            return Ok(());
        }
        Err(Failure::new(table.wrong.join("\n")))
    }

    fn play_one(&mut self, case: &Case, scene: &mut Scene) {
        self.cases += 1;
        let found = match (case.attack)(scene) {
            Ok(refusal) => refusal.short(),
            Err(failure) => {
                self.starts += 1;
                format!("no refusal: {failure}")
            }
        };
        if found != case.expected {
            self.wrong.push(format!(
                "{}: expected '{}', found '{found}'",
                case.name, case.expected
            ));
        }
        self.lines.push(format!("{:<58} {found}", case.name));
        scene.honest();
        match (case.mend)(scene).and_then(|()| scene.node.starts()) {
            Ok(()) => self.again += 1,
            Err(failure) => self.wrong.push(format!("after '{}': {failure}", case.name)),
        }
    }

    fn text(&self, title: &str) -> String {
        format!(
            "hostile cases {title}:\n{}\n{} cases, {} hostile starts, {} starts after trust was back",
            self.lines.join("\n"),
            self.cases,
            self.starts,
            self.again
        )
    }
}

// === impl Scene ===

impl Scene {
    /// The carrier, which every case finds in place.
    pub(crate) fn carrier(&self) -> Outcome<&Carrier> {
        self.carrier
            .as_ref()
            .ok_or_else(|| Failure::new("no carrier"))
    }

    /// Does something during which the agent makes its socket anew, so that the carrier has to let
    /// it have its place.
    pub(crate) fn without_carrier(&mut self, act: impl FnOnce(&mut Node) -> Outcome) -> Outcome {
        drop(self.carrier.take());
        let outcome = act(&mut self.node);
        self.carrier = Some(Carrier::start()?);
        outcome
    }

    fn honest(&self) {
        if let Some(carrier) = &self.carrier {
            carrier.be_honest();
        }
    }
}

/// For cases that leave nothing behind.
pub(crate) fn nothing(_: &mut Scene) -> Outcome {
    Ok(())
}

/// For cases after which a new attestation is enough.
pub(crate) fn attest(scene: &mut Scene) -> Outcome {
    scene.node.attest()
}

/// For cases after which only a reboot helps.
pub(crate) fn reboot(scene: &mut Scene) -> Outcome {
    scene.node.reboot_and_attest()
}
