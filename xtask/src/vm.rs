//! `cargo xtask vm`: a guest with a real measured boot, and the gate in it.
//!
//! The guest is made from Debian packages: UEFI firmware that enforces Secure Boot, shim, grub,
//! Debian's kernel, systemd, cgroup v2, AppArmor, IMA, containerd, runc and crun, and Portcullis as
//! a package would install it. QEMU runs it in software, beside a software TPM; root is needed to
//! build it only. Each scenario is one boot: its job goes in on one disk and the results come back on another,
//! and whether what was claimed holds is decided here, outside.

mod disk;
mod document;
mod failures;
mod machine;
mod product;
mod report;
mod results;
mod root;
mod scenario;
mod suites;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::compatibility;
use crate::packages;
use crate::programs;
use crate::screen;
use crate::step::{self, Failed, Outcome, timed};
use crate::workspace::Workspace;

use document::Extent;
use machine::Machine;
use product::Product;
use report::Report;
use root::Root;
use scenario::{Lab, Scenario};

/// Options of the guest.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm
  cargo xtask vm trusted --keep
  cargo xtask vm cgroups --reuse
  cargo xtask vm --boot-limit 900 --output json | jq '.[] | select(.ok | not)'

A run of all scenarios, with or without the suites, on a new machine writes its part of
docs/compatibility.md, and says there with what programs.")]
pub(crate) struct Arguments {
    /// Only these scenarios, and the first where they need the host that it enrolls
    #[arg(value_enum)]
    scenario: Vec<Scenario>,
    /// Folder with our programs; default: build them as shipped
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Longest time for one boot, from power on to power off, in seconds
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(30..=7200))]
    boot_limit: u32,
    /// Run all tests of the suites, which takes hours
    #[arg(long)]
    all_suites: bool,
    /// Of the suites, only the tests whose path has this in it; may be given several times
    #[arg(long, value_name = "PART", value_parser = clap::builder::ValueParser::new(part_of_path))]
    test: Vec<String>,
    /// Leave the machine, with its disk and its TPM, in target/vm/machine
    #[arg(long)]
    keep: bool,
    /// Boot the machine that an earlier run has left, as it is, in place of a new one
    #[arg(long)]
    reuse: bool,
    /// How to print the outcome: lines for people, or a JSON array of
    /// `{scenario, claim, observed, ok}`
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Form of the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// One line for each claim.
    Text,
    /// JSON, and nothing else, on standard output.
    Json,
}

/// Builds what is not built, boots, and says what held; success means that all did.
pub(crate) fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    if std::env::consts::ARCH != "x86_64" {
        let needed = "the guest is an x86-64 one; no other can be built";
        return Err(Failed::Missing(needed.to_owned()));
    }
    let workspace = Workspace::find()?;
    timed("Debian packages", packages::provide_for_vm)?;
    let programs = match &arguments.programs {
        Some(folder) => std::path::absolute(folder).map_err(|source| Failed::File {
            deed: format!("find '{}'", folder.display()),
            source,
        })?,
        None => timed("programs, as shipped", || programs::build(&workspace))?,
    };
    let vm = workspace.target.join("vm");
    fs::create_dir_all(&vm).map_err(|source| Failed::File {
        deed: format!("make '{}'", vm.display()),
        source,
    })?;
    let product = Product::find(&workspace, &programs)?;
    let root = timed("root folder of the guest", || Root::provide(&vm))?;
    let images = vm.join("images.tar");
    timed("images of the containers", || {
        let lab = programs::build_lab(&workspace)?;
        step::run(Command::new(lab).arg("images").arg(&images))
    })?;
    let folder = vm.join("machine");
    let machine = if arguments.reuse {
        Machine::open(&folder, arguments.boot_limit)?
    } else {
        let disk = timed("disk of the guest", || disk::provide(&vm, &root, &product))?;
        timed("a new machine", || {
            Machine::make(&folder, &disk, arguments.boot_limit)
        })?
    };
    let lab = Lab {
        machine,
        images,
        boots: vm.join("boots"),
        workspace,
        product,
        suites: suites::Extent {
            all: arguments.all_suites,
            only: arguments.test.clone(),
        },
    };
    let plan = Scenario::plan(&arguments.scenario, arguments.reuse);
    let report = boots(&lab, &plan);
    if arguments.keep || arguments.reuse {
        screen::say(&format!("the machine is left in '{}'", folder.display()));
    } else {
        root::remove(&[&folder])?;
    }
    let is_whole = Scenario::is_whole_machine(&plan) && arguments.test.is_empty();
    if is_whole && !arguments.reuse && report.is_whole() {
        let extent = Extent {
            as_shipped: arguments.programs.is_none(),
            suites: plan.contains(&Scenario::Suites),
        };
        let text = document::of(&root, extent, &report)?;
        compatibility::write_guest(&lab.workspace.root, &text)?;
    }
    show(&report, arguments.output);
    if report.all_held() {
        return Ok(ExitCode::SUCCESS);
    }
    let boots = lab.boots.display();
    screen::say(&format!("logs of the boots are in '{boots}'"));
    Ok(ExitCode::FAILURE)
}

/// Letters, digits, `_` and `:`, which mean nothing to the guest's shell.
fn part_of_path(text: &str) -> Result<String, String> {
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    if !text.is_empty() && text.bytes().all(is_path) {
        return Ok(text.to_owned());
    }
    Err("a part of a path like 'with_runc::it_pauses' is expected".to_owned())
}

/// Boots the machine once for each scenario.
fn boots(lab: &Lab, plan: &[Scenario]) -> Report {
    let mut report = Report::default();
    for scenario in plan {
        let done = timed(&format!("boot '{scenario}'"), || {
            scenario.run(lab, &mut report)
        });
        if let Err(failed) = done {
            report.did_not_boot(*scenario, &failed.to_string());
            // The boots after it need the host as it would have left it.
            break;
        }
    }
    report
}

fn show(report: &Report, output: Output) {
    match output {
        Output::Text => {
            screen::print(report.text().trim_end());
            let (held, not) = report.counts();
            screen::print(&format!("{held} held, {not} did not"));
        }
        Output::Json => screen::print(&format!("{:#}", report.json())),
    }
}
