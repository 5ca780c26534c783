//! What every command writes by: data to stdout, words to stderr, colour on a terminal only.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::failure::USAGE;

/// Nobody reads stdout any more. Not a failure: whoever closed it had enough.
#[derive(Debug, thiserror::Error)]
#[error("stdout was closed")]
pub(super) struct StdoutClosed;

/// Prints text and a line's end to stdout.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
        other => Ok(other?),
    }
}

/// Prints a value as one line of JSON to stdout.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string(value)?)
}

/// Prints names and values in two columns to stdout.
pub(super) fn print_pairs(pairs: &[(&str, String)]) -> anyhow::Result<()> {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}  {value}", bold(&format!("{name:width$}")))).collect();
    print(&lines.join("\n"))
}

/// Prints rows under their heads to stdout, each column as wide as its longest cell.
pub(super) fn print_table(heads: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let length = |cell: &String| cell.chars().count();
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(at, head)| rows.iter().filter_map(|row| row.get(at)).map(length).max().unwrap_or(0).max(head.len()))
        .collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_string()
    };
    let mut lines = vec![bold(&line(heads.to_vec()))];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    print(&lines.join("\n"))
}

/// Says something on stderr.
pub(super) fn say(text: &str) {
    // When stderr is gone too there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Asks something on stderr; the answer comes on the same line.
#[cfg(feature = "client")]
pub(super) fn ask(prompt: &str) {
    let _ = write!(io::stderr(), "{prompt}");
}

/// Asks a question on stderr that `y` or `yes` answers; none where stdin is no terminal.
#[cfg(feature = "client")]
pub(super) fn confirmed(question: &str) -> io::Result<Option<bool>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    ask(question);
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")))
}

/// Says what failed, and what to do about it.
pub(super) fn error(message: &str, hint: Option<&str>) {
    let (red, cyan, plain) = if colour_on_stderr() { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
    say(&format!("restante: {red}error{plain}: {message}"));
    if let Some(hint) = hint {
        say(&format!("{cyan}hint{plain}: {hint}"));
    }
}

/// Prints what the command line's parser has to say, help or complaint, and gives the exit code.
pub(super) fn usage(error: &clap::Error) -> u8 {
    let rendered = error.render();
    let painted = if error.use_stderr() { colour_on_stderr() } else { colour_on_stdout() };
    let text = if painted { rendered.ansi().to_string() } else { rendered.to_string() };
    if !error.use_stderr() {
        return print(text.trim_end()).map_or_else(|error| super::report(&error), |()| 0);
    }
    let text = text.trim_end();
    say(&if text.starts_with("error:") { format!("restante: {text}") } else { text.to_string() });
    USAGE
}

/// Whether stderr is a terminal that wants colours.
pub(super) fn colour_on_stderr() -> bool {
    io::stderr().is_terminal() && colours()
}

/// Bold, where stdout is a terminal.
pub(super) fn bold(text: &str) -> String {
    if colour_on_stdout() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_string() }
}

fn colour_on_stdout() -> bool {
    io::stdout().is_terminal() && colours()
}

fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
