//! What a pod costs while it runs: a sandbox and one container in it, made through CRI.

use std::fs;
use std::thread;
use std::time::Duration;

use super::Bench;
use super::measure::{Measure, count, in_turn};
use super::peer::Side;
use super::process::{field, find, processor_ms};
use crate::cri::{self, expected};
use crate::failure::{Doing, Outcome};

/// What is measured.
pub(super) const NAMES: [&str; 11] = [
    "anonymous memory per pod, idle",
    "anonymous memory per pod, after three execs",
    "resident memory per pod, idle",
    "resident memory per pod, after three execs",
    "proportional memory per pod, after three execs",
    "threads per pod",
    "processor time of the shim, one pod started",
    "processor time of the shim, three execs",
    "size of the shim",
    AGENT[0],
    AGENT[1],
];
/// What is measured of the agent, which the peer does without.
const AGENT: [&str; 2] = [
    "anonymous memory of the agent, one per node",
    "resident memory of the agent, one per node",
];
/// Execs between the two readings.
const EXECS: usize = 3;
/// Pods of each side, unless fewer runs are asked for.
const PODS: usize = 10;
/// Pause between two readings, and how many of them in a row must be equal.
const PAUSE: Duration = Duration::from_millis(100);
const EQUAL: usize = 3;
/// Readings after which a figure counts although it still changes.
const MOST: usize = 30;

/// One reading of a shim.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    anonymous: f64,
    resident: f64,
    proportional: f64,
    threads: f64,
}

/// All readings of one pod.
#[derive(Debug, Clone, Copy)]
struct Readings {
    idle: Reading,
    used: Reading,
    started_ms: f64,
    execs_ms: f64,
    size: f64,
}

/// What is taken from the readings of a pod.
type Figure = fn(&Readings) -> f64;

/// Memory, threads and processor time of the shim of one pod.
pub(super) fn costs(bench: &Bench<'_>) -> Outcome<Vec<Measure>> {
    let sides = bench.sides();
    let [ours, peer] = in_turn(bench.runs.min(PODS), |side, round| {
        one(bench, sides[side], round)
    })?;
    let figures: [(&str, Figure); NAMES.len() - AGENT.len()] = [
        ("KiB", |all| all.idle.anonymous),
        ("KiB", |all| all.used.anonymous),
        ("KiB", |all| all.idle.resident),
        ("KiB", |all| all.used.resident),
        ("KiB", |all| all.used.proportional),
        ("", |all| all.used.threads),
        ("ms", |all| all.started_ms),
        ("ms", |all| all.execs_ms),
        ("KiB", |all| all.size),
    ];
    let of = |all: &[Readings], figure: Figure| all.iter().map(figure).collect();
    let beside = NAMES.into_iter().zip(figures);
    let mut measures: Vec<Measure> = beside
        .map(|(name, (unit, figure))| {
            Measure::beside(name, unit, of(&ours, figure), of(&peer, figure))
        })
        .collect();
    let agent = settled(bench.agent()?)?;
    for (name, memory) in AGENT.into_iter().zip([agent.anonymous, agent.resident]) {
        measures.push(Measure::alone(name, "KiB", vec![memory]));
    }
    Ok(measures)
}

fn one(bench: &Bench<'_>, side: &Side, round: usize) -> Outcome<Readings> {
    let cri = bench.node.containerd.cri();
    let name = format!("{}-{round}", side.word);
    let pod = expected(cri.run_pod(cri::pod("bench", &name), side.handler)?)?;
    let container = expected(cri.launch(&pod, cri::container("app", &["sleep", "3600"]))?)?;
    let shim = find(&side.shim, &pod.id)?;
    let idle = settled(shim)?;
    let started_ms = processor_ms(shim)?;
    for _ in 0..EXECS {
        expected(cri.exec(&container, &["true"])?)?;
    }
    let used = settled(shim)?;
    let execs_ms = processor_ms(shim)? - started_ms;
    let program = fs::read_link(format!("/proc/{shim}/exe")).doing("find a program")?;
    let size = fs::metadata(&program)
        .doing(format!("look at '{}'", program.display()))?
        .len();
    cri.remove_pod(&pod)?;
    Ok(Readings {
        idle,
        used,
        started_ms,
        execs_ms,
        size: count(usize::try_from(size).unwrap_or(usize::MAX)) / 1024.0,
    })
}

/// Reads until nothing changes any more, for at most three seconds.
fn settled(pid: u32) -> Outcome<Reading> {
    let mut last = read(pid)?;
    let mut equal = 1;
    for _ in 0..MOST {
        thread::park_timeout(PAUSE);
        let now = read(pid)?;
        equal = if now == last { equal + 1 } else { 1 };
        last = now;
        if equal == EQUAL {
            break;
        }
    }
    Ok(last)
}

fn read(pid: u32) -> Outcome<Reading> {
    let file = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).doing(format!("read '{path}'"))
    };
    // Exact; the figures in `status` lag behind by up to a few dozen pages for each thread.
    let memory = file("smaps_rollup")?;
    Ok(Reading {
        anonymous: field(&memory, "Anonymous")?,
        resident: field(&memory, "Rss")?,
        proportional: field(&memory, "Pss")?,
        threads: field(&file("status")?, "Threads")?,
    })
}
