//! What node policy gives up for one container.

use portcullis_gate::RuleModes;

use crate::relaxation::Relaxations;

/// What node policy gives up for one container; never anything that its workload asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Concessions {
    /// Named exceptions from the profile.
    pub relaxations: Relaxations,
    /// Rules that are not enforced.
    pub modes: RuleModes,
}

impl Concessions {
    /// Nothing is given up.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            relaxations: Relaxations::none(),
            modes: RuleModes::enforced(),
        }
    }
}

impl From<Relaxations> for Concessions {
    /// Exceptions alone.
    fn from(relaxations: Relaxations) -> Self {
        Self {
            relaxations,
            modes: RuleModes::enforced(),
        }
    }
}
