//! What the documents say and a program can check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::{needs, programs, run};

/// Documents that a newcomer types commands from; those of `cargo xtask` are checked there.
const TYPED_FROM: [&str; 5] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/explain.md",
    "docs/policy.md",
    "docs/reference-values.md",
];
/// Folders whose documents are followed.
const FOLDERS: [&str; 2] = ["", "docs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document(name: &str) -> Outcome<String> {
    fs::read_to_string(root().join(name)).doing(format!("read '{name}'"))
}

/// Lines of the shell blocks of a document, without their indentation.
fn typed(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside && !line.is_empty() && !line.starts_with('#') => {
                lines.push(line.to_owned());
            }
            _ => {}
        }
    }
    lines
}

/// Words of `line` up to the first option, file or variable: the command and its subcommands.
fn command_of(line: &str) -> Vec<&str> {
    line.split_whitespace()
        .take_while(|word| {
            word.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        })
        .take_while(|word| !word.starts_with('-'))
        .collect()
}

/// Options in `line`: `--name`.
fn options_of(line: &str) -> BTreeSet<&str> {
    line.split_whitespace()
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .map(|word| word.split('=').next().unwrap_or(word))
        .collect()
}

/// Fails unless `help` mentions every option of `line`.
fn check_options(line: &str, help: &str) -> Outcome {
    for option in options_of(line) {
        let known =
            help.split(|character: char| !(character.is_alphanumeric() || character == '-'));
        if !known.into_iter().any(|word| word == option) {
            return Err(Failure::new(format!("'{line}': there is no {option}")));
        }
    }
    Ok(())
}

/// Files that a document links to.
fn targets(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|part| part.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains(':'))
        .collect()
}

#[test]
fn links_lead_somewhere() -> Outcome {
    let mut seen = 0;
    for folder in FOLDERS.map(|folder| root().join(folder)) {
        let entries = fs::read_dir(&folder).doing(format!("list '{}'", folder.display()))?;
        let documents = entries.flatten().map(|entry| entry.path());
        for document in documents.filter(|path| path.extension().is_some_and(|is| is == "md")) {
            let text = fs::read_to_string(&document).doing("read a document")?;
            for target in targets(&text) {
                seen += 1;
                let at = document.display();
                assert!(
                    folder.join(target).exists(),
                    "{at}: '{target}' is not there"
                );
            }
        }
    }
    assert!(seen > 5, "this test would not notice");
    Ok(())
}

#[test]
fn the_changelog_keeps_its_form() -> Outcome {
    const KINDS: [&str; 6] = [
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    ];
    let text = document("CHANGELOG.md")?;
    assert!(text.starts_with("# Changelog"), "no title");
    assert!(
        text.contains("\n## [Unreleased]") || text.contains("\n## "),
        "no release"
    );
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("### ") {
            assert!(KINDS.contains(&kind), "'{kind}' is none of {KINDS:?}");
        }
    }
    Ok(())
}

mod needs_programs {
    use super::*;

    #[test]
    fn every_command_that_is_written_exists_with_its_options() -> Outcome {
        needs!(Programs);
        let portcullis = programs::find().expect("the programs").join("portcullis");
        let mut seen = 0;
        for name in TYPED_FROM {
            for line in typed(&document(name)?) {
                let words = command_of(&line);
                let help = match words.as_slice() {
                    ["portcullis", rest @ ..] => {
                        run::to_end(Command::new(&portcullis).args(rest).arg("--help"))?
                    }
                    ["cargo", "xtask", rest @ ..] => {
                        let mut xtask = Command::new(env!("CARGO"));
                        xtask
                            .current_dir(root())
                            .args(["xtask"])
                            .args(rest)
                            .arg("--help");
                        run::to_end(&mut xtask)?
                    }
                    _ => continue,
                };
                let help = help.success().map_err(|failure| {
                    Failure::new(format!("{name}: '{line}' is no command: {failure}"))
                })?;
                check_options(&line, &help)?;
                seen += 1;
            }
        }
        assert!(seen > 5, "this test would not notice");
        Ok(())
    }
}
