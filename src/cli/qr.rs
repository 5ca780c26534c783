//! A text as a QR code in a terminal, two modules a character.

use std::io::IsTerminal;

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use super::output;

/// Prints a text's code where it was asked for, or where stdout is a terminal: who has that before them can hold a camera at it.
pub(super) fn print(text: &str, asked: bool) -> anyhow::Result<()> {
    if !asked && !std::io::stdout().is_terminal() {
        return Ok(());
    }
    match code(text) {
        Some(code) => output::print(&code),
        None => {
            output::say("this is too long for a QR code");
            Ok(())
        }
    }
}

/// Shows a text to be copied: on stdout as it is, and above it, where that is a terminal or it was asked for, its code on stderr,
/// so that a pipe gets the text alone.
pub(super) fn show(text: &str, asked: bool) -> anyhow::Result<()> {
    if let Some(code) = code(text).filter(|_| asked || std::io::stdout().is_terminal()) {
        output::say(&code);
    }
    output::print(text)
}

/// None where a text is too long for one: beyond 2,953 bytes. Light modules are drawn, since most terminals are dark; and
/// readers take the other kind as well.
fn code(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn a_link_fits_into_a_terminal_of_eighty_columns() {
        let code = code(&"restante:1?".repeat(28)).expect("308 bytes");
        let widths: Vec<usize> = code.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0] && *width <= 80), "{widths:?}");
        assert!(code.lines().count() <= 40 && code.starts_with('█'), "{code}");
        assert!(super::code(&"x".repeat(2_954)).is_none());
    }
}
