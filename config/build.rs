//! Writes the built-in profiles without comments and white space: they are read at every launch, and most of
//! their bytes are for people.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let output = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    for entry in ["profiles", "seccomp"].map(fs::read_dir) {
        for file in entry? {
            let path = file?.path();
            println!("cargo::rerun-if-changed={}", path.display());
            let text = fs::read_to_string(&path)?;
            let compact = match path.extension().and_then(|extension| extension.to_str()) {
                Some("toml") => compact_toml(&text),
                Some("json") => compact_json(&text),
                _ => continue,
            };
            fs::write(output.join(name(&path)?), compact)?;
        }
    }
    Ok(())
}

fn name(path: &Path) -> Result<&std::ffi::OsStr, Box<dyn Error>> {
    path.file_name()
        .ok_or_else(|| format!("no file name in '{}'", path.display()).into())
}

/// Without lines that hold nothing but a comment, and without the space that lines begin and end with.
fn compact_toml(text: &str) -> String {
    assert!(
        !text.contains("\"\"\"") && !text.contains("'''"),
        "a text of several lines may have lines that look like comments"
    );
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Without white space outside texts.
fn compact_json(text: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    text.chars()
        .filter(|&character| {
            let kept = inside || !character.is_ascii_whitespace();
            if character == '"' && !escaped {
                inside = !inside;
            }
            escaped = inside && character == '\\' && !escaped;
            kept
        })
        .collect()
}
