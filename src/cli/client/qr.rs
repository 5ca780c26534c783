//! A text as a QR code, in half blocks: two rows of modules a line.

use std::io::IsTerminal;

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

use super::super::output;

/// Shows a text to be copied: on stdout as it is, and above it, where that is a terminal or it was asked for, as a QR code on
/// stderr, so that a pipe gets the text alone.
pub(super) fn show(text: &str, asked_for: bool) -> anyhow::Result<()> {
    if (asked_for || std::io::stdout().is_terminal())
        && let Some(code) = code(text)
    {
        output::say(&code);
    }
    output::print(text)
}

/// Dark on light, whatever the terminal's colours are: most readers take no code that is inverted. None where a text is too long.
fn code(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let lines = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn a_code_is_square_and_has_its_quiet_zone() {
        let shown = code("restante:account1?origin=http%3A%2F%2F127.0.0.1%3A8484").expect("short enough");
        let lines: Vec<&str> = shown.lines().collect();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width));
        assert_eq!(lines.len(), width.div_ceil(2));
        assert!(lines[0].chars().all(|c| c == '\u{2588}'), "light all along");
        assert!(code(&"x".repeat(3_000)).is_none());
    }
}
