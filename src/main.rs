//! `restante`: parses the command line, runs the command, and is the one place where a process gets its exit code.

use std::process::ExitCode;

use restante::cli;

/// The system's own keeps a fifth more for a second wave of 10,000 long polls, and does not give it back.
#[cfg(feature = "server")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let code = match cli::parse(std::env::args_os()) {
        Ok(command) => cli::run(command).unwrap_or_else(|error| cli::report(&error)),
        Err(code) => code,
    };
    ExitCode::from(code)
}
