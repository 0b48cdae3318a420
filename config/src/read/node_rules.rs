//! What is set about images, levels of sensitivity and versions.

use portcullis_attestation::tag;
use portcullis_gate::Version;

use crate::image_pattern::ImagePattern;
use crate::node_rules::{ImageRules, NodeRules, Program, SensitivityRules, VersionRules};
use crate::reader::{Reader, Section};
use crate::tree::Table;

pub(super) fn rules(reader: &mut Reader, root: &Table) -> NodeRules {
    let section = reader.section(root, "image", "image.");
    NodeRules {
        image: image(reader, section),
        sensitivity: sensitivity(reader, root),
        versions: versions(reader, root),
    }
}

/// What `section`, the node's own or that of namespaces, asks of images.
pub(super) fn image(reader: &mut Reader, section: Section<'_>) -> ImageRules {
    let digest_only = reader.switch(section, "digest_only");
    let expected = "names in full ('registry.example/prod/*', 'docker.io/library/nginx'); '*' for \
                    one part, '**' for the rest";
    let patterns = reader.texts(section, "registries", expected, ImagePattern::parse);
    ImageRules {
        digest_only: digest_only.unwrap_or(false),
        registries: patterns.into_iter().filter(|it| !it.is_empty()).collect(),
    }
}

fn sensitivity(reader: &mut Reader, root: &Table) -> SensitivityRules {
    let section = reader.section(root, "sensitivity", "sensitivity.");
    let expected = "the key of an asset tag, or nothing";
    let key = reader.text(section, "tag", expected, |text| {
        (text.is_empty() || tag::is_key(text)).then(|| text.to_owned())
    });
    SensitivityRules {
        tag: key.unwrap_or_default(),
        pin: reader.switch(section, "pin").unwrap_or(false),
        workload: level(reader, section, "default").into_iter().collect(),
    }
}

/// The name of a level; `None` for none.
pub(super) fn level(reader: &mut Reader, section: Section<'_>, key: &str) -> Option<String> {
    let expected = "a level, as the value of a tag is written, or nothing";
    let level = reader.text(section, key, expected, |text| {
        (text.is_empty() || tag::is_value(text)).then(|| text.to_owned())
    });
    level.filter(|level| !level.is_empty())
}

fn versions(reader: &mut Reader, root: &Table) -> VersionRules {
    let section = reader.section(root, "versions", "versions.");
    let mut rules = VersionRules::default();
    let expected = "a version of two numbers or more ('1.2.8', '6.1.0-28'), or nothing";
    for program in Program::ALL {
        let key = program.as_str();
        let oldest = reader.text(section, key, expected, |text| match text {
            "" => Some(None),
            text => Version::parse(text).map(Some),
        });
        *rules.oldest_mut(program) = oldest.flatten();
    }
    let expected =
        "programs with a version ('runc 1.1.11'): 'kernel', 'runc', 'crun', 'libseccomp'";
    let denied = reader.texts(section, "deny", expected, |text| {
        let (name, version) = text.split_once(' ')?;
        let mut programs = Program::ALL.into_iter();
        let program = programs.find(|program| program.as_str() == name)?;
        Some((program, Version::parse(version)?))
    });
    rules.deny = denied.unwrap_or_default();
    rules
}
