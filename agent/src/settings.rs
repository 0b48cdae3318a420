//! The relaxations of this node's settings and its break-glass tokens as they are now: whoever
//! changes them need not restart the agent for them to be counted.

use std::time::{Duration, Instant};

use portcullis_config::Config;
use portcullis_gate::break_glass::Found;

use crate::log;

/// Between two looks at the settings.
const INTERVAL: Duration = Duration::from_secs(15);

/// How many relaxations there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Exceptions {
    /// Those that hold.
    pub(crate) active: u64,
    /// Those whose last day is over.
    pub(crate) expired: u64,
}

/// The settings, read again from time to time.
#[derive(Debug)]
pub(crate) struct Settings {
    config: Config,
    tokens: Vec<Found>,
    read: Instant,
    /// One warning is enough for settings that stay unreadable.
    has_failed: bool,
}

// === impl Exceptions ===

impl Exceptions {
    /// Those of `config` at `unix_s`.
    pub(crate) fn of(config: &Config, unix_s: u64) -> Self {
        let expired = config.expired_relaxations(unix_s).count();
        let active = config.relaxations.len().saturating_sub(expired);
        Self {
            active: active as u64,
            expired: expired as u64,
        }
    }
}

// === impl Settings ===

impl Settings {
    /// Begins with what the agent started with.
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            tokens: portcullis_config::break_glass_tokens(),
            read: Instant::now(),
            has_failed: false,
        }
    }

    /// The settings as they were read last.
    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// The break-glass tokens as they were read last.
    pub(crate) fn tokens(&self) -> &[Found] {
        &self.tokens
    }

    /// The counts at `unix_s`. Settings that cannot be read stop launches, which say so; here the
    /// last ones that could be stay.
    pub(crate) fn exceptions(&mut self, unix_s: u64) -> Exceptions {
        if self.read.elapsed() >= INTERVAL {
            self.read = Instant::now();
            self.tokens = portcullis_config::break_glass_tokens();
            match portcullis_config::load_as(&self.config.node_name) {
                Ok(config) => {
                    self.config = config;
                    self.has_failed = false;
                }
                Err(faults) if !self.has_failed => {
                    let fault = faults.first().to_string();
                    log::warn("relaxations not counted anew", &[("fault", &fault)]);
                    self.has_failed = true;
                }
                Err(_told_already) => {}
            }
        }
        Exceptions::of(&self.config, unix_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_those_that_hold_and_those_that_are_over() {
        let one = |name: &str, expires: &str| {
            format!(
                "[[relaxation]]\nname = \"{name}\"\nnamespace = \"n\"\nimage = \"sha256:{}\"\n\
                 expires = \"{expires}\"\nreason = \"r\"\n",
                "0".repeat(64)
            )
        };
        let text = [
            one("a", "1970-01-01"),
            one("b", "1970-01-02"),
            one("c", "2100-01-01"),
        ];
        let config = portcullis_config::parse("t", &text.concat(), "w7").unwrap();
        let expected = Exceptions {
            active: 2,
            expired: 1,
        };
        assert_eq!(Exceptions::of(&config, 86_400), expected);
        // A new Settings has nothing to read yet.
        assert_eq!(Settings::new(config).exceptions(86_400), expected);
    }
}
