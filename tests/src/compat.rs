//! What `cargo xtask compat` tries: real programs under each hardening profile, as pods, each with
//! every relaxation in turn if it does not work without.
//!
//! Prints what it found as JSON; how it is shown is the business of xtask.

mod profile;
mod program;
mod trial;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::failure::{Doing, Failure, Outcome};
use crate::node::Node;
use crate::world::{Plan, Root, Shape, World};
use crate::{containerd, image, programs, run};

use profile::Profile;
use program::{ALL, Program};
use trial::{Held, Trial};

/// Drop-in with the profile of each namespace.
const PROFILES: &str = "50-profiles";
/// Drop-in with the relaxation that is tried.
const RELAXATION: &str = "60-relaxation";
/// Where containerd keeps images and their files, and how much memory that may take: the layer
/// once as it came and once unpacked.
const STORE: (&str, &str) = ("/var/lib/containerd", "size=4g");
/// How long the import of the images may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// What to try, and with what.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Folder for logs and for the mount point of the world.
    #[arg(long)]
    scratch: PathBuf,
    /// Folder of our built programs.
    #[arg(long)]
    programs: PathBuf,
    /// Folder with the root file system of the host; its containerd must make user namespaces.
    #[arg(long)]
    root: PathBuf,
    /// Archive with the root file system of the containers, uncompressed.
    #[arg(long)]
    layer: PathBuf,
    /// Only the program of this name.
    #[arg(long)]
    only: Vec<String>,
}

/// Makes a world and tries the programs in it.
///
/// # Errors
///
/// When there is no such program, or the world cannot be made.
pub fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    arguments.chosen()?;
    let scratch = std::path::absolute(&arguments.scratch).doing("find the scratch folder")?;
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch).doing(format!("clear '{}'", scratch.display()))?;
    }
    std::fs::create_dir_all(&scratch).doing(format!("make '{}'", scratch.display()))?;
    let lab = std::env::current_exe().doing("find this program")?;
    let others = [Some(arguments.programs.as_path()), arguments.layer.parent()];
    let others = others.into_iter().flatten().map(Path::to_path_buf);
    let mut payload = vec![lab.clone().into_os_string(), "compat-inside".into()];
    payload.extend(arguments.words(&scratch));
    let plan = Plan {
        scratch: scratch.clone(),
        shape: Shape::default(),
        root: Some(Root::showing(arguments.root.clone(), &lab, others)),
        keep: false,
        payload,
    };
    let mut command = plan.command(&lab);
    command.env(programs::FOLDER, &arguments.programs);
    let status = command.status().doing("start the keeper")?;
    if status.success() {
        std::fs::remove_dir_all(&scratch).doing("clear the scratch folder")?;
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("logs are in {}", scratch.join("log").display());
    Ok(ExitCode::FAILURE)
}

/// The programs inside their world. A program that works under no condition is a finding, and no
/// failure of the run.
///
/// # Errors
///
/// When the host cannot be set up or taken down, or a trial cannot be made.
pub fn run_inside(arguments: &Arguments) -> Outcome<ExitCode> {
    let world = World::current().ok_or_else(|| Failure::new("this is not a world"))?;
    let chosen = arguments.chosen()?;
    eprintln!("setting up: software TPM, agent, keys, reference values, asset tag, containerd");
    let (at, size) = STORE;
    mount(
        None::<&str>,
        at,
        None::<&str>,
        MsFlags::MS_REMOUNT,
        Some(size),
    )
    .doing(format!("make room in '{at}'"))?;
    world.mount_mappable(trial::KUBELET)?;
    let node = Node::provision(&world)?;
    node.set(PROFILES, &Profile::policy())?;
    eprintln!("importing the images");
    let images = import(&arguments.layer, &chosen)?;
    let mut found = Vec::new();
    for (program, image) in chosen.into_iter().zip(&images) {
        for profile in Profile::ALL {
            let trial = Trial {
                node: &node,
                program,
                image,
                profile,
            };
            found.push(findings(trial)?);
        }
    }
    println!("{}", Value::Array(found));
    run::to_end(Command::new("umount").arg(trial::KUBELET))?.success()?;
    node.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// Gives containerd an image for each program; returns their names, each with its digest.
fn import(layer: &Path, programs: &[&Program]) -> Outcome<Vec<String>> {
    let images: Vec<(String, Value)> = programs
        .iter()
        .map(|program| (program.image(), program.config()))
        .collect();
    let mut command = Command::new("ctr");
    command.args([
        "--namespace",
        containerd::POD_NAMESPACE,
        "images",
        "import",
        "-",
    ]);
    let line = run::line_of(&command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .doing(format!("start '{line}'"))?;
    let mut pipe = child.stdin.take().ok_or_else(|| Failure::new("no pipe"))?;
    let written = image::write_sharing(layer, &images, &mut pipe);
    drop(pipe);
    // Its own complaint says more than that of a broken pipe.
    let status = run::wait_for(&mut child, &line, PATIENCE)?;
    if !status.success() {
        return Err(Failure::new(format!("'{line}' ended with {status}")));
    }
    written
}

/// Tries a program as it is; if it does not work, with each relaxation that its profile knows.
fn findings(trial: Trial<'_>) -> Outcome<Value> {
    let begun = Instant::now();
    let Trial {
        program, profile, ..
    } = trial;
    let as_is = trial.run()?;
    let mut relaxations = Vec::new();
    if as_is != Held::Passes {
        for name in profile.relaxations()? {
            trial.node.set(RELAXATION, &relaxation(&name, &trial))?;
            if trial.run()? == Held::Passes {
                relaxations.push(name);
            }
        }
        trial.node.unset(RELAXATION)?;
    }
    let (outcome, error) = match as_is {
        Held::Passes => ("passes", None),
        Held::Fails(error) if relaxations.is_empty() => ("fails", Some(error)),
        Held::Fails(error) => ("relaxed", Some(error)),
    };
    let seconds = begun.elapsed().as_secs_f64();
    let names = relaxations.join(", ");
    eprintln!(
        "{} under {profile}: {outcome} {names} ({seconds:.1} s)",
        program.name
    );
    if let Some(error) = &error {
        eprintln!("  {error}");
    }
    Ok(json!({
        "program": program.name,
        "package": program.package,
        "work": program.work,
        "profile": profile.name(),
        "outcome": outcome,
        "relaxations": relaxations,
        "error": error,
    }))
}

/// Node policy that grants one relaxation to the image of a trial.
fn relaxation(name: &str, trial: &Trial<'_>) -> String {
    let digest = trial.image.split_once('@').map_or("", |(_, digest)| digest);
    let namespace = trial.profile;
    format!(
        "[[relaxation]]\nname = \"{name}\"\nnamespace = \"{namespace}\"\nimage = \"{digest}\"\n\
         expires = \"2100-01-01\"\nreason = \"tried by cargo xtask compat\"\n"
    )
}

// === impl Arguments ===

impl Arguments {
    /// The programs that are to be tried.
    fn chosen(&self) -> Outcome<Vec<&'static Program>> {
        let is_named = |name: &str| ALL.iter().any(|program| program.name == name);
        if let Some(unknown) = self.only.iter().find(|name| !is_named(name)) {
            let names: Vec<&str> = ALL.iter().map(|program| program.name).collect();
            return Err(Failure::new(format!(
                "no program is named '{unknown}'; there are: {}",
                names.join(", ")
            )));
        }
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|only| only == name);
        Ok(ALL.iter().filter(|program| wanted(program.name)).collect())
    }

    /// The words of the command line that give these arguments.
    fn words(&self, scratch: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--scratch".into(), scratch.into()];
        for (option, path) in [
            ("--programs", &self.programs),
            ("--root", &self.root),
            ("--layer", &self.layer),
        ] {
            words.extend([option.into(), path.into()]);
        }
        words.extend(self.only.iter().map(|name| format!("--only={name}").into()));
        words
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Arguments};
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parsed(more: &[&str]) -> Arguments {
        let mut line = vec!["compat", "--scratch", "s", "--programs", "p"];
        line.extend(["--root", "r", "--layer", "l"]);
        line.extend(more);
        Line::parse_from(line).arguments
    }

    #[test]
    fn programs_are_chosen_by_name_and_an_unknown_one_lists_the_names() {
        let chosen = |more: &[&str]| parsed(more).chosen().map(|programs| programs.len());
        assert_eq!(chosen(&[]), Ok(ALL.len()));
        assert_eq!(chosen(&["--only", "jvm", "--only", "redis"]), Ok(2));
        let failure = chosen(&["--only", "jv"]).unwrap_err().to_string();
        assert!(failure.contains("jvm-native"), "{failure}");
    }

    #[test]
    fn the_words_for_the_inside_say_the_same() {
        let arguments = parsed(&["--only", "jvm"]);
        let words = arguments.words("s".as_ref());
        let again = Line::parse_from(std::iter::once("compat".into()).chain(words)).arguments;
        assert_eq!(format!("{again:?}"), format!("{arguments:?}"));
    }
}
