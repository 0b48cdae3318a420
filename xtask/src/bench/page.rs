//! The figures as tables, and the page in `docs/benchmarks/`.

use super::budget::{Judged, cell, table as budget_table};
use super::figure::Figure;

/// How the page begins.
const OPENING: &str = "# Benchmarks\n\n\
    Portcullis with every check on (gate with a live reading of the TPM, profile `restricted`,\n\
    ledger) beside containerd's own shim with none, measured in turn in one run. Ratios travel;\n\
    absolute times do not. Written by this command, and not to be edited by hand:\n\n";

/// What the reader must know to judge the figures.
const METHOD: &str = "## What is measured\n\n\
    Everything runs in a private world: its own containerd, a software TPM over TCP, the agent as\n\
    shipped, images of busybox in memory. Rounds go forwards and backwards by turns (ours, peer,\n\
    peer, ours, …), so that a drift of the machine hits both; a first round does not count. Each\n\
    figure is the median of the rounds, with the tenth and the ninetieth percentile behind it.\n\
    A ratio is that of the medians; its percentiles are those of the single rounds' ratios. A p99 is\n\
    taken in each round, by nearest rank; the figure is the median of those.\n\n\
    - **'start' action**: from running the program to the end of its answer.\n\
    - **create and start**: containerd's Task API, without `ctr`, of a container that sleeps.\n\
    - **create and start, audit mode**: the gate asks, verifies, decides, hardens and records as\n\
      always, but the OCI runtime gets the configuration as it came. So the runtime does the same for\n\
      both sides, and what differs is the shims.\n\
    - **added by hardening to create and start**: enforcing less audit mode in the same round; what\n\
      the OCI runtime and the kernel do more for a hardened configuration (filter, masks, read-only\n\
      root, mounts in memory), not the shim's own work on it.\n\
    - **added by profile 'restricted' over 'baseline'**: the same, of the one profile over the other.\n\
    - **request to ledger record**: what the shim noted in its ledger records, from the moment it has\n\
      read the node's settings until it hands the record over: live reading, decision, mounts and\n\
      hardening. With many at once the wait for a processor is part of it.\n\
    - **added by the live reading to an exec**: `exec.gate = \"full\"` less `\"fresh\"`.\n\
    - **gate's own work**: processor time of a decision. The hook, which decides as the shim does in\n\
      a process of its own, is run without having to look at the configuration; taken off is the\n\
      processor time of a hook that does nothing, and added that of the agent meanwhile. The work\n\
      of the software TPM is left out: a TPM does it beside the processor. Processor time, because\n\
      200 at once wait for each other however little each has to do.\n\
    - **hardening's own work**: what the hook needs more if it has to look at the configuration.\n\
    - **agent's snapshot**: from connecting to the whole answer, the TPM's reading included. All who\n\
      wait when a reading begins share it.\n\
    - **N launches at once**: create and start of N containers through N connections, begun together.\n\
    - **per pod**: a sandbox and one container through CRI, when nothing changes any more.\n\
      Anonymous, resident and proportional memory are those of `smaps_rollup`; execs are `ExecSync`.\n\
    - **of the agent, one per node**: read once, after the pods; the peer has no such process.\n\n\
    Not isolated: what the gate alone adds to a whole launch. There is no way to create a container\n\
    without it. *Request to ledger record* is the nearest, and has hardening and mounts in it.\n";

/// What the page is made from.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    /// The command that has made it.
    pub(crate) command: &'a str,
    /// Version of the source, if it is known.
    pub(crate) source: Option<&'a str>,
    /// Labels and texts about the machine.
    pub(crate) machine: &'a [(String, String)],
    /// All figures.
    pub(crate) figures: &'a [Figure],
    /// What they come to.
    pub(crate) judged: &'a [Judged],
    /// Name of the peer's program.
    pub(crate) peer: &'a str,
    /// Names of the picture's and the figures' files.
    pub(crate) files: [&'a str; 2],
}

/// All figures: those with a peer, then those without one.
pub(crate) fn tables(figures: &[Figure], peer: &str) -> String {
    let (beside, alone): (Vec<&Figure>, Vec<&Figure>) =
        figures.iter().partition(|figure| figure.peer.is_some());
    let mut text = String::new();
    if !beside.is_empty() {
        text.push_str(&format!(
            "| measure | unit | ours: median (p10–p90) | {peer} | ratio | runs |\n|---|---|---|---|---|---|\n"
        ));
    }
    for figure in beside {
        let peer = figure.peer.map_or_else(String::new, cell);
        let ratio = figure.ratio.map_or_else(|| "–".to_owned(), cell);
        text.push_str(&row(figure, &format!("{peer} | {ratio}")));
    }
    if !alone.is_empty() {
        let gap = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!(
            "{gap}| measure | unit | ours: median (p10–p90) | runs |\n|---|---|---|---|\n"
        ));
    }
    for figure in alone {
        text.push_str(&row(figure, ""));
    }
    text
}

fn row(figure: &Figure, more: &str) -> String {
    let (name, unit, ours) = (&figure.measure, &figure.unit, cell(figure.ours));
    let more = if more.is_empty() {
        String::new()
    } else {
        format!("{more} | ")
    };
    format!("| {name} | {unit} | {ours} | {more}{} |\n", figure.runs)
}

// === impl Page ===

impl Page<'_> {
    /// The page.
    pub(crate) fn text(&self) -> String {
        let [chart, json] = self.files;
        let mut text = format!("{OPENING}```sh\n{}\n```\n\n", self.command);
        text.push_str("| | |\n|---|---|\n");
        let source = self.source.map(|source| ("source", source));
        let machine = self
            .machine
            .iter()
            .map(|(label, told)| (label.as_str(), told.as_str()));
        for (label, told) in source.into_iter().chain(machine) {
            text.push_str(&format!("| {label} | {told} |\n"));
        }
        text.push_str(&format!(
            "\n## Budgets\n\nJudged by the medians.\n\n{}\n![Ratios and budgets]({chart})\n\n\
             ## Figures\n\nThe same as JSON: [{json}]({json}).\n\n{}\n{METHOD}",
            budget_table(self.judged),
            tables(self.figures, self.peer),
        ));
        text
    }
}
