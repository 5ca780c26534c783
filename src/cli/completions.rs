//! `restante completions SHELL`: prints a script; reads no configuration.

use clap::Args;
use clap_complete::Shell;

use super::output;

/// `restante completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  restante completions bash > ~/.local/share/bash-completion/completions/restante")]
pub(super) struct CompletionsArgs {
    /// The shell to complete in.
    shell: Shell,
}

pub(super) fn run(args: CompletionsArgs, command: &mut clap::Command) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "restante", &mut script);
    output::print(String::from_utf8(script)?.trim_end())?;
    Ok(0)
}
