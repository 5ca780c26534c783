//! `restante`: parses the command line, runs the command, and is the one place where a process gets its exit code.

use std::process::ExitCode;

use restante::cli;

fn main() -> ExitCode {
    let code = match cli::parse(std::env::args_os()) {
        Ok(command) => cli::run(command).unwrap_or_else(|error| cli::report(&error)),
        Err(code) => code,
    };
    ExitCode::from(code)
}
