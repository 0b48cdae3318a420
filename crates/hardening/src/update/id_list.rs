//! Lists of processors and memory nodes (`0-3,8`).

/// More ranges than any machine has use for.
const RANGES_LIMIT: usize = 1024;

/// A list, as ranges with both ends.
type Ranges = Vec<(u32, u32)>;

/// True if everything that `asked` names is named in `ceiling` too. False if one of them cannot be
/// read; the kernel knows more spellings (`0-31:2/4`) than are needed.
pub(super) fn is_within(asked: &str, ceiling: &str) -> bool {
    if asked == ceiling {
        return true;
    }
    let (Some(asked), Some(ceiling)) = (parse(asked), parse(ceiling)) else {
        return false;
    };
    let ceiling = merged(ceiling);
    asked.iter().all(|(first, last)| {
        let mut ranges = ceiling.iter();
        ranges.any(|(low, high)| low <= first && last <= high)
    })
}

fn parse(list: &str) -> Option<Ranges> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let mut ranges = Ranges::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || ranges.len() >= RANGES_LIMIT {
            return None;
        }
        ranges.push((first, last));
    }
    Some(ranges)
}

/// Neighbours made one, so that a range over both lies in one.
fn merged(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut merged = Ranges::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_within_whatever_the_spelling() {
        for (asked, ceiling) in [
            ("0", "0-3"),
            ("1-2,3", "0-3"),
            ("0-7", "4-7,0-1,2-3"),
            ("3,2,1,0", "0,1,2,3"),
            ("0-31:2/4", "0-31:2/4"),
            ("4294967295", "0-4294967295"),
        ] {
            assert!(is_within(asked, ceiling), "{asked} in {ceiling}");
        }
    }

    #[test]
    fn more_and_what_cannot_be_read_is_not() {
        for (asked, ceiling) in [
            ("4", "0-3"),
            ("0-4", "0-3"),
            ("0-2", "0,2"),
            ("", "0-3"),
            ("3-0", "0-3"),
            ("0-31:2/4", "0-31"),
            ("all", "0-3"),
            ("+1", "0-3"),
            ("0\n", "0-3"),
            ("1", "all"),
        ] {
            assert!(!is_within(asked, ceiling), "{asked} in {ceiling}");
        }
        let many = vec!["0"; RANGES_LIMIT + 1].join(",");
        assert!(!is_within(&many, "0-3"));
    }
}
