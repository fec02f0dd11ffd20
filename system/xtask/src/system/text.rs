//! Small texts: sizes such as `256M`, MAC addresses, and the nearest of several words.

/// Units of sizes, by their letter.
const UNITS: [(char, u64); 3] = [('K', 1 << 10), ('M', 1 << 20), ('G', 1 << 30)];

/// The bytes that a size such as `256M`, `64K` or `4096` stands for.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (digits, unit) = UNITS
        .into_iter()
        .find_map(|(letter, unit)| Some((text.strip_suffix(letter)?, unit)))
        .unwrap_or((text, 1));
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// `bytes` as a size with the largest unit that divides it.
pub(crate) fn size(bytes: u64) -> String {
    let unit = UNITS
        .into_iter()
        .rev()
        .find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit));
    match unit {
        Some((letter, unit)) => format!("{}{letter}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// The MAC address that `text` stands for: six pairs of hexadecimal digits with colons between them.
pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next()?;
        if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// `mac` as text.
pub(crate) fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The one of `words` that `word` was probably meant to be: at most a third of its letters differ.
pub(crate) fn nearest<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    let (distance, nearest) = words
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .min()?;
    let longest = word.chars().count().max(nearest.chars().count());
    (distance * 3 <= longest.max(3)).then_some(nearest)
}

/// `words` as a list for a reader: `a, b and c`.
pub(crate) fn all_of(words: &[&str]) -> String {
    list(words, "and")
}

/// `words` as a choice for a reader: `a, b or c`.
pub(crate) fn one_of(words: &[&str]) -> String {
    list(words, "or")
}

fn list(words: &[&str], before_last: &str) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [first @ .., last] => format!("{} {before_last} {last}", first.join(", ")),
    }
}

/// How many letters must be added, removed, changed or swapped with their neighbour to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let changed = at(&row, j) + usize::from(letter != other);
            let mut best = changed.min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(other) && b.get(j - 1) == Some(letter) {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("256M"), Some(256 << 20));
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size("1G"), Some(1 << 30));
        for wrong in ["", "M", "256MB", "-1M", "1.5G", "99999999999G", "+3M"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
        assert_eq!(
            (size(256 << 20), size(4097), size(0)),
            ("256M".into(), "4097".into(), "0".into())
        );
    }

    #[test]
    fn mac_addresses_are_six_pairs() {
        assert_eq!(
            parse_mac("52:54:00:0a:0B:01"),
            Some([0x52, 0x54, 0, 10, 11, 1])
        );
        for wrong in [
            "",
            "52:54:00:00:00",
            "52:54:00:00:00:01:02",
            "52:54:0:00:00:01",
            "52:54:00:00:00:0g",
        ] {
            assert_eq!(parse_mac(wrong), None, "{wrong}");
        }
        assert_eq!(mac([0x52, 0x54, 0, 10, 11, 1]), "52:54:00:0a:0b:01");
    }

    #[test]
    fn the_nearest_word_is_near() {
        let words = ["memory", "name", "kernel", "mac"];
        assert_eq!(nearest("memroy", &words), Some("memory"));
        assert_eq!(nearest("kernle", &words), Some("kernel"));
        assert_eq!(nearest("mca", &words), Some("mac"));
        assert_eq!(nearest("colour", &words), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn lists_are_read_aloud() {
        assert_eq!(all_of(&["a", "b", "c"]), "a, b and c");
        assert_eq!(one_of(&["a", "b"]), "a or b");
        assert_eq!(one_of(&["a"]), "a");
    }
}
