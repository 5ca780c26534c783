//! What must hold of every text that is read as `relay.toml`: it is taken whole or each fault has a place, and neither depends on
//! anything but the text. The fuzz target `config` compiles this very file.

use std::path::Path;

use restante::config::{DEFAULT_TEXT, Sources, load};

/// Reads a text by way of a file. Panics where that is not so. Gives whether it was taken.
pub(crate) fn judge(file: &Path, bytes: &[u8]) -> bool {
    std::fs::write(file, bytes).expect("a file to write");
    let read = || load(Sources { file: Some(file.to_path_buf()), ..Sources::default() });
    match read() {
        Ok(loaded) => {
            let keys = DEFAULT_TEXT.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")).count();
            assert_eq!(loaded.settings.len(), keys, "every key has its value");
            let text = toml::to_string(&loaded.config).expect("a configuration is TOML");
            std::fs::write(file, &text).expect("a file to write");
            let again = read().unwrap_or_else(|error| panic!("not read as it was written: {error}\n{text}"));
            assert_eq!(again.config, loaded.config, "{text}");
            true
        }
        Err(error) => {
            assert!(!error.problems.is_empty());
            for problem in &error.problems {
                assert!(!problem.message.is_empty() && !problem.origin.is_empty(), "{problem:?}");
            }
            false
        }
    }
}
