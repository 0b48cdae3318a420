//! From places in a configuration back to the fields of the manifest that they came from.

/// Which field of a manifest each part of a configuration came from, or would have to come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origins(Vec<Origin>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    /// Pointer into the configuration; what is beneath it counts too.
    config: String,
    /// A word that tells things apart that share a pointer; empty if there is none.
    word: String,
    /// Pointer into the manifest.
    manifest: String,
}

// === impl Origins ===

impl Origins {
    pub(super) fn add(&mut self, config: impl Into<String>, manifest: impl Into<String>) {
        self.add_word(config, "", manifest);
    }

    /// For what is found at `config` and mentions `word`.
    pub(super) fn add_word(
        &mut self,
        config: impl Into<String>,
        word: impl Into<String>,
        manifest: impl Into<String>,
    ) {
        self.0.push(Origin {
            config: config.into(),
            word: word.into(),
            manifest: manifest.into(),
        });
    }

    /// The field for `pointer`, about which `text` was said: the nearest, and of several the one
    /// whose word is in the text.
    pub(crate) fn of(&self, pointer: &str, text: &str) -> Option<&str> {
        let fits = |origin: &&Origin| {
            let beneath = pointer
                .strip_prefix(&origin.config)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            beneath && text.contains(&origin.word)
        };
        self.0
            .iter()
            .filter(fits)
            .max_by_key(|origin| (origin.config.len(), origin.word.len()))
            .map(|origin| origin.manifest.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Origins;

    #[test]
    fn the_nearest_field_is_meant() {
        let mut origins = Origins::default();
        origins.add("/mounts/1", "/m");
        origins.add("/mounts/1/source", "/s");
        origins.add("/linux/namespaces", "/user");
        origins.add_word("/linux/namespaces", "network", "/net");
        assert_eq!(origins.of("/mounts/1/options", ""), Some("/m"));
        assert_eq!(origins.of("/mounts/1/source", ""), Some("/s"));
        assert_eq!(origins.of("/mounts/10", ""), None);
        let text = "the network namespace of the host";
        assert_eq!(origins.of("/linux/namespaces", text), Some("/net"));
        assert_eq!(origins.of("/linux/namespaces", "none"), Some("/user"));
    }
}
