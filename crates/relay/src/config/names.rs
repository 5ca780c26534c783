//! The names of keys, in a file and in the environment, and what is said of one that nobody knows.

use std::ops::Range;

use super::Setting;

/// `server.listen` → `RESTANTE_SERVER__LISTEN`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// Whether a section has this name.
pub(super) fn is_section(settings: &[Setting], name: &str) -> bool {
    settings.iter().any(|setting| setting.key.split_once('.').is_some_and(|(section, _)| section == name))
}

/// Which key was meant.
pub(super) fn hint_for(key: &str, settings: &[Setting]) -> String {
    if key.ends_with("request_bytes_max") {
        return "request_bytes_max follows from devices_max and is not set by itself".into();
    }
    // The right name in the wrong section is meant more often than a like name in the right one.
    let name = key.rsplit('.').next().unwrap_or(key);
    let twin = settings.iter().find(|setting| setting.key.rsplit('.').next() == Some(name));
    let keys = settings.iter().map(|setting| setting.key.clone());
    format!("did you mean `{}`?", twin.map_or_else(|| nearest(key, keys), |setting| setting.key.clone()))
}

/// The name that takes the fewest slips of the fingers.
pub(super) fn nearest(name: &str, names: impl Iterator<Item = String>) -> String {
    names.min_by_key(|known| strsim::damerau_levenshtein(known, name)).unwrap_or_default()
}

/// Line and column of a place, from 1, and its line with a mark under it.
pub(super) fn mark(text: &str, span: Range<usize>) -> (usize, usize, String) {
    let start = span.start.min(text.len());
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    let number = text[..start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count() + 1;
    let width = text.get(span).unwrap_or("").lines().next().unwrap_or("").chars().count().max(1);
    let gutter = " ".repeat(number.to_string().len());
    let carets = "^".repeat(width);
    (number, column, format!("{gutter} |\n{number} | {line}\n{gutter} | {:>1$}", carets, column - 1 + width))
}

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "RESTANTE_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stands_under_what_is_meant() {
        let (line, column, excerpt) = mark("[server]\nlistn = 1\n", 9..14);
        assert_eq!((line, column), (2, 1));
        assert_eq!(excerpt, "  |\n2 | listn = 1\n  | ^^^^^");
    }
}
