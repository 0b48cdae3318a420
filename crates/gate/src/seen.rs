//! Verdicts that the relying parties of this host have seen in this boot: the memory by which an
//! older verdict is a replay, and by which a clock that is set back makes none live longer.

use std::collections::BTreeMap;

use portcullis_attestation::base64url;
use portcullis_attestation::boot_id::BootId;
use portcullis_attestation::verdict::Verdict;

use crate::request::VerdictOrder;

/// First word of a memory in text, and its version.
const MAGIC: &str = "portcullis-seen 1";

/// When a verdict was first seen: by the wall clock, and by the one nobody can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstSeen {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub unix_s: u64,
    /// `CLOCK_BOOTTIME` in milliseconds: time since the kernel started, sleep included.
    pub boottime_ms: u64,
}

/// The newest verdict of one verifier about one TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sighting {
    order: VerdictOrder,
    /// Claim `eat_nonce` in base64url.
    nonce: String,
    first_seen: FirstSeen,
}

/// What was seen, for each key of a verifier and each TPM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    sightings: BTreeMap<(String, String), Sighting>,
    has_changed: bool,
}

/// Why a verdict is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replay {
    /// A newer one was seen.
    Older(VerdictOrder),
    /// Another one with the same number was seen.
    Twin,
    /// It answers a challenge that an earlier one answered.
    Nonce,
}

// === impl FirstSeen ===

impl FirstSeen {
    /// The least that the wall clock can truly show at `boottime_ms`, in seconds since 1970.
    pub(crate) const fn at_least(self, boottime_ms: u64) -> u64 {
        let passed_s = boottime_ms.saturating_sub(self.boottime_ms) / 1000;
        self.unix_s.saturating_add(passed_s)
    }
}

// === impl Seen ===

impl Seen {
    /// Reads what [`Seen::to_text`] wrote. What was seen in another boot counts for nothing, for
    /// no verdict of that boot is accepted in this one.
    ///
    /// `None` if it is not such a text; nothing can be said about replays then.
    #[must_use]
    pub fn parse(text: &str, boot_id: &BootId) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let written_in = lines.next()?.strip_prefix(MAGIC)?.strip_prefix(' ')?;
        let mut seen = Self::default();
        if BootId::parse(written_in)? != *boot_id {
            return Some(seen);
        }
        for line in lines {
            let (verifier, sighting) = read(line)?;
            if seen.sightings.insert(verifier, sighting).is_some() {
                return None;
            }
        }
        Some(seen)
    }

    /// One line for the boot, one for each verifier.
    #[must_use]
    pub fn to_text(&self, boot_id: &BootId) -> String {
        let mut text = format!("{MAGIC} {}\n", boot_id.as_str());
        for ((kid, ueid), sighting) in &self.sightings {
            let Sighting {
                order,
                nonce,
                first_seen,
            } = sighting;
            text.push_str(&format!(
                "{kid} {ueid} {} {} {nonce} {} {}\n",
                order.seq, order.iat, first_seen.unix_s, first_seen.boottime_ms
            ));
        }
        text
    }

    /// Whether something was seen that the text did not hold.
    #[must_use]
    pub const fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Takes over what another relying party has seen meanwhile: the newer of two stays, and of
    /// the same one the first sight.
    pub fn merge(&mut self, other: Self) {
        for (verifier, theirs) in other.sightings {
            match self.sightings.get(&verifier) {
                Some(ours) if ours.order > theirs.order => {}
                _ => {
                    self.sightings.insert(verifier, theirs);
                }
            }
        }
    }

    /// When `verdict` was first seen, if it is the newest one.
    pub(crate) fn first_seen(&self, verdict: &Verdict) -> Option<FirstSeen> {
        let known = self.sightings.get(&verifier(verdict))?;
        (known.order == order(verdict)).then_some(known.first_seen)
    }

    /// Notes `verdict`, whose signature was verified, as seen `now` unless it was before.
    ///
    /// # Errors
    ///
    /// [`Replay`]: it is not taken.
    pub(crate) fn note(&mut self, verdict: &Verdict, now: FirstSeen) -> Result<(), Replay> {
        let order = order(verdict);
        let nonce = base64url::encode(&verdict.nonce);
        let verifier = verifier(verdict);
        match self.sightings.get(&verifier) {
            Some(known) if order < known.order => return Err(Replay::Older(known.order)),
            Some(known) if order == known.order => {
                return if nonce == known.nonce {
                    Ok(())
                } else {
                    Err(Replay::Twin)
                };
            }
            Some(known) if nonce == known.nonce => return Err(Replay::Nonce),
            Some(_) | None => {}
        }
        let sighting = Sighting {
            order,
            nonce,
            first_seen: now,
        };
        self.sightings.insert(verifier, sighting);
        self.has_changed = true;
        Ok(())
    }
}

fn order(verdict: &Verdict) -> VerdictOrder {
    VerdictOrder {
        seq: verdict.host.sequence,
        iat: verdict.issued_at_s,
    }
}

fn verifier(verdict: &Verdict) -> (String, String) {
    (verdict.kid.clone(), verdict.host.ueid.as_str().to_owned())
}

fn read(line: &str) -> Option<((String, String), Sighting)> {
    let mut words = line.split(' ');
    let mut word = || words.next().filter(|word| !word.is_empty());
    let verifier = (word()?.to_owned(), word()?.to_owned());
    let order = VerdictOrder {
        seq: number(word()?)?,
        iat: number(word()?)?,
    };
    let nonce = word()?.to_owned();
    let first_seen = FirstSeen {
        unix_s: number(word()?)?,
        boottime_ms: number(word()?)?,
    };
    words.next().is_none().then_some((
        verifier,
        Sighting {
            order,
            nonce,
            first_seen,
        },
    ))
}

/// Digits only: `parse` alone would take a sign.
fn number(word: &str) -> Option<u64> {
    word.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| word.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "portcullis-seen 1 9b0b3ffa-6b1c-4f3e-9d52-0d1f2a3b4c5d\n\
                        kid-a ueid-a 412 1795290484 bm9uY2U 1795290500 7000\n\
                        kid-b ueid-a 7 1795290400 bm9uY2U 1795290401 100\n";

    fn boot() -> BootId {
        BootId::parse("9b0b3ffa-6b1c-4f3e-9d52-0d1f2a3b4c5d").expect("a boot id")
    }

    fn parse(text: &str) -> Option<Seen> {
        Seen::parse(text, &boot())
    }

    #[test]
    fn reads_what_it_wrote() {
        let seen = parse(TEXT).expect("valid");
        assert_eq!(seen.to_text(&boot()), TEXT);
        assert!(!seen.has_changed());
        let empty = Seen::default().to_text(&boot());
        assert_eq!(parse(&empty), Some(Seen::default()));
    }

    #[test]
    fn what_was_seen_in_another_boot_counts_for_nothing() {
        let other = TEXT.replace("9b0b3ffa", "00000000");
        assert_eq!(parse(&other), Some(Seen::default()));
    }

    #[test]
    fn a_text_that_was_cut_or_changed_is_not_read() {
        for end in 0..TEXT.len() {
            let cut = TEXT.get(..end).expect("ASCII");
            let is_whole_line = cut.ends_with('\n');
            assert_eq!(parse(cut).is_some(), is_whole_line, "{cut:?}");
        }
        for (from, to) in [
            ("seen 1", "seen 2"),
            ("412", "+412"),
            ("412", "18446744073709551616"),
            ("412 ", "412  "),
            ("7000", "7000 9"),
            ("kid-b", "kid-a"),
            ("\nkid-b", "\n\nkid-b"),
            ("9b0b3ffa", "9B0B3FFA"),
        ] {
            assert_eq!(parse(&TEXT.replace(from, to)), None, "{from} -> {to}");
        }
    }

    #[test]
    fn of_two_memories_the_newer_sight_stays() {
        let mut ours = parse(TEXT).expect("valid");
        let theirs = TEXT.replace("412 1795290484", "413 1795290480");
        ours.merge(parse(&theirs).expect("valid"));
        assert_eq!(ours.to_text(&boot()), theirs);
        ours.merge(parse(TEXT).expect("valid"));
        assert_eq!(ours.to_text(&boot()), theirs);
    }

    #[test]
    fn the_boottime_clock_bounds_the_wall_clock() {
        let first = FirstSeen {
            unix_s: 1000,
            boottime_ms: 5500,
        };
        assert_eq!(first.at_least(5500), 1000);
        assert_eq!(first.at_least(6499), 1000);
        assert_eq!(first.at_least(6500), 1001);
        assert_eq!(first.at_least(0), 1000);
        assert_eq!(first.at_least(u64::MAX), 1000 + (u64::MAX - 5500) / 1000);
    }
}
