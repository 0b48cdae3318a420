//! Go's key folding: which spellings its `encoding/json` takes for one key.

use std::borrow::Cow;

/// LATIN SMALL LETTER LONG S, which folds to `s`.
const LONG_S: char = '\u{017f}';
/// KELVIN SIGN, which folds to `k`.
const KELVIN: char = '\u{212a}';

/// Folds `key` so that two keys fold alike if Go would match one to a field named by the other.
///
/// ASCII letters become lower case, U+017F becomes `s` and U+212A becomes `k`: no other character
/// folds to ASCII. Field names of the OCI specifications are ASCII, so nothing else can collide
/// with one of them; two keys that are both non-ASCII are *not* folded against each other.
///
/// # Source
///
/// Go, `encoding/json`, "fold.go", and Unicode `CaseFolding.txt`, statuses C and S.
#[must_use]
pub fn fold(key: &str) -> Cow<'_, str> {
    if key
        .bytes()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
    {
        return Cow::Borrowed(key);
    }
    Cow::Owned(
        key.chars()
            .map(|character| match character {
                LONG_S => 's',
                KELVIN => 'k',
                other => other.to_ascii_lowercase(),
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lower_case_ascii_is_borrowed() {
        assert!(matches!(fold("linux"), Cow::Borrowed("linux")));
    }

    #[test]
    fn upper_case_folds() {
        assert_eq!(fold("ProCess"), "process");
    }

    #[test]
    fn kelvin_sign_and_long_s_fold_to_ascii() {
        assert_eq!(fold("ma\u{17f}\u{212a}edPath\u{17f}"), "maskedpaths");
    }

    #[test]
    fn every_character_that_unicode_lower_or_upper_cases_into_ascii_folds() {
        let found: Vec<char> = ('\u{80}'..=char::MAX)
            .filter(|character| {
                character.to_lowercase().all(|lower| lower.is_ascii())
                    || character.to_uppercase().all(|upper| upper.is_ascii()) // includes 'ß' -> "SS"
            })
            .filter(|character| character.to_lowercase().count() == 1)
            .filter(|character| character.to_uppercase().count() == 1)
            .filter(|character| *character != '\u{131}') // dotless i upper-cases to I, but does not fold
            .collect();
        assert_eq!(found, ['\u{17f}', '\u{212a}']);
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(key in ".*") {
            let once = fold(&key).into_owned();
            prop_assert_eq!(fold(&once), once.as_str());
        }
    }
}
