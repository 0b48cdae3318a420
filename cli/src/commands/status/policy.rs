//! What of this node's policy is not enforced: rules, and relaxations with the days they have left.

use portcullis_config::{Config, Faults, Relaxation};
use serde_json::{Map, Value, json};

use crate::paint::{Rows, bad, caution, good, plain, strong};

/// What the settings say now, which is what the next launch is decided by; or why they cannot.
#[derive(Debug)]
pub(super) struct Policy<'a> {
    pub(super) settings: &'a Result<Config, Faults>,
    pub(super) now_unix_s: u64,
}

// === impl Policy ===

impl Policy<'_> {
    /// Adds what fits on a line.
    pub(super) fn summarise(&self, rows: &mut Rows) {
        let config = match self.settings {
            Ok(config) => config,
            Err(faults) => {
                rows.add("settings", bad(&plain(&faults.first().to_string())));
                return;
            }
        };
        let loosened: Vec<String> = config
            .rules
            .loosened()
            .map(|(rule, mode)| format!("{rule} ({})", mode.as_str()))
            .collect();
        rows.add(
            "rules",
            if loosened.is_empty() {
                good("all enforced")
            } else {
                caution(&format!("not enforced: {}", loosened.join(", ")))
            },
        );
        let expired = config.expired_relaxations(self.now_unix_s).count();
        let active = config.relaxations.len().saturating_sub(expired);
        let counts = format!("{active} active, {expired} expired");
        rows.add(
            "relaxations",
            if expired == 0 {
                counts
            } else {
                caution(&counts)
            },
        );
    }

    /// The relaxations one by one; empty if there are none.
    pub(super) fn list(&self) -> String {
        let Ok(config) = self.settings else {
            return String::new();
        };
        if config.relaxations.is_empty() {
            return String::new();
        }
        let mut rows = Rows::default();
        for relaxation in &config.relaxations {
            let digest: String = relaxation.image.chars().take(19).collect();
            let about = format!(
                "{} {digest}… {}: {}",
                plain(&relaxation.namespace),
                self.left(relaxation),
                plain(&relaxation.reason)
            );
            rows.add(&plain(&relaxation.name), about);
        }
        format!("\n{}\n{}", strong("Relaxations"), rows.render())
    }

    fn left(&self, relaxation: &Relaxation) -> String {
        match relaxation.days_left(self.now_unix_s) {
            None => caution(&format!("expired after {}", relaxation.expires)),
            Some(0) => caution("ends today"),
            Some(1) => "1 day left".to_owned(),
            Some(days) => format!("{days} days left"),
        }
    }

    pub(super) fn json(&self) -> Value {
        let config = match self.settings {
            Ok(config) => config,
            Err(faults) => {
                let faults: Vec<Value> = faults.iter().map(|fault| fault.to_json()).collect();
                return json!({ "faults": faults });
            }
        };
        let rules: Map<String, Value> = config
            .rules
            .loosened()
            .map(|(rule, mode)| (rule.id().to_owned(), mode.as_str().into()))
            .collect();
        let relaxation = |it: &Relaxation| {
            json!({
                "name": it.name,
                "namespace": it.namespace,
                "image": it.image,
                "expires": it.expires.to_string(),
                "days_left": it.days_left(self.now_unix_s),
                "reason": it.reason,
            })
        };
        json!({
            "rules_not_enforced": rules,
            "relaxations": config.relaxations.iter().map(relaxation).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &str = r#"
        [rules]
        non-root = "audit"
        seccomp = "off"
        [[relaxation]]
        name = "tmp-exec"
        namespace = "legacy"
        image = "sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b"
        expires = "1970-01-13"
        reason = "JNI"
        [[relaxation]]
        name = "abi32"
        namespace = "legacy"
        image = "sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b"
        expires = "1970-01-01"
        reason = "old\u001b[31m"
        "#;

    fn shown(text: &str, now_unix_s: u64) -> (String, Value) {
        let settings = portcullis_config::parse("node.toml", text, "w7");
        let policy = Policy {
            settings: &settings,
            now_unix_s,
        };
        let mut rows = Rows::default();
        policy.summarise(&mut rows);
        let text = format!("{}{}", rows.render(), policy.list());
        let text = anstream::adapter::strip_str(&text).to_string();
        (text, policy.json())
    }

    #[test]
    fn lists_what_is_not_enforced_and_how_long_it_still_is_not() {
        let (text, json) = shown(SETTINGS, 86_400);
        assert_eq!(
            text,
            "  rules        not enforced: non-root (audit), seccomp (off)\n\
             \x20 relaxations  1 active, 1 expired\n\
             \n\
             Relaxations\n\
             \x20 tmp-exec  legacy sha256:6c3c624b58db… 11 days left: JNI\n\
             \x20 abi32     legacy sha256:6c3c624b58db… expired after 1970-01-01: old?[31m\n"
        );
        assert_eq!(
            json["rules_not_enforced"],
            json!({"non-root": "audit", "seccomp": "off"})
        );
        assert_eq!(json["relaxations"][0]["days_left"], 11);
        assert_eq!(json["relaxations"][1]["days_left"], Value::Null);
        assert!(shown(SETTINGS, 12 * 86_400).0.contains("ends today: JNI"));
        assert!(shown(SETTINGS, 11 * 86_400).0.contains("1 day left: JNI"));
    }

    #[test]
    fn says_when_nothing_is_given_up_and_when_that_cannot_be_known() {
        let (text, _) = shown("", 0);
        assert_eq!(
            text,
            "  rules        all enforced\n  relaxations  0 active, 0 expired\n"
        );
        let (text, json) = shown("[rules]\nnon-root = 1", 0);
        assert!(
            text.starts_with("  settings  portcullis: fault [config-malformed]"),
            "{text}"
        );
        assert_eq!(json["faults"][0]["code"], "config-malformed");
    }
}
