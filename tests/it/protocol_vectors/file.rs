//! A file of vectors and its cases: named fields, byte strings as hexadecimal. A missing field fails the test by its name.

use serde_json::Value;

/// A file of `tests/it/vectors`.
pub(super) struct Vectors(pub(super) Value);

/// One object of such a file.
pub(super) struct Case(pub(super) Value);

impl Vectors {
    pub(super) fn read(name: &str) -> Self {
        let path = format!("{}/tests/it/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect(&path);
        Self(serde_json::from_str(&text).expect(&path))
    }

    /// The cases under a name; none would prove nothing.
    pub(super) fn cases(&self, name: &str) -> Vec<Case> {
        objects(&self.0, name)
    }

    /// The public keys under a name.
    pub(super) fn keys(&self, name: &str) -> Vec<[u8; 32]> {
        let keys = self.0[name].as_array().expect(name);
        assert!(!keys.is_empty(), "no {name}");
        keys.iter().map(|key| unhex(key.as_str().expect(name)).try_into().expect("32 bytes")).collect()
    }
}

impl Case {
    pub(super) fn text(&self, name: &str) -> &str {
        self.0[name].as_str().expect(name)
    }

    pub(super) fn name(&self) -> &str {
        self.text("name")
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().expect(name)
    }

    pub(super) fn hex(&self, name: &str) -> Vec<u8> {
        unhex(self.text(name))
    }

    pub(super) fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.hex(name).try_into().unwrap_or_else(|_| panic!("{name} is not {N} bytes"))
    }

    pub(super) fn nested(&self, name: &str) -> Vec<Case> {
        objects(&self.0, name)
    }
}

fn objects(value: &Value, name: &str) -> Vec<Case> {
    let cases = value[name].as_array().expect(name);
    assert!(!cases.is_empty(), "no {name}");
    cases.iter().cloned().map(Case).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.is_ascii() && text.len().is_multiple_of(2), "not hexadecimal");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}
