//! Secrets, and a search for them in every form in which bytes get into files and logs: as they are, in hexadecimal, in base64
//! at each of its three alignments, as the numbers and escapes that Rust's `Debug` prints; upper or lower case.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What must not be found.
#[derive(Default)]
pub(crate) struct Needles {
    /// What it is, by its bytes: the same secret is searched for once.
    secrets: BTreeMap<Vec<u8>, String>,
}

impl Needles {
    pub(crate) fn add(&mut self, what: &str, secret: &[u8]) {
        assert!(secret.len() >= SHORTEST, "{what} is too short to be told from chance");
        // Of what is long its beginning and its middle: a part of it is a leak, too.
        if secret.len() > 2 * PART {
            let middle = secret.len() / 2;
            self.secrets.insert(secret[..PART].to_vec(), what.to_string());
            self.secrets.insert(secret[middle..middle + PART].to_vec(), what.to_string());
        } else {
            self.secrets.insert(secret.to_vec(), what.to_string());
        }
    }

    /// Bytes that stand as base64url somewhere else; what isn't, or is short, is no secret of that kind.
    pub(crate) fn add_encoded(&mut self, what: &str, text: &str) {
        if let Ok(bytes) = URL_SAFE_NO_PAD.decode(text)
            && bytes.len() >= 16
        {
            self.add(what, &bytes);
        }
    }

    /// How many there are of each kind.
    pub(crate) fn kinds(&self) -> BTreeMap<&str, usize> {
        let mut kinds = BTreeMap::new();
        for what in self.secrets.values() {
            *kinds.entry(what.as_str()).or_default() += 1;
        }
        kinds
    }

    /// What of them stands in these bytes, and how it is written there.
    pub(crate) fn found_in(&self, hay: &[u8]) -> BTreeSet<String> {
        let mut by_head: HashMap<[u8; SHORTEST], Vec<(Vec<u8>, String)>> = HashMap::new();
        for (secret, what) in &self.secrets {
            for (form, written) in forms(secret) {
                let head = *written.first_chunk().expect("no form is shorter than the secret");
                by_head.entry(head).or_default().push((written, format!("{what} ({form})")));
            }
        }
        let hay = hay.to_ascii_lowercase();
        let mut found = BTreeSet::new();
        for at in 0..hay.len().saturating_sub(SHORTEST - 1) {
            let head: &[u8; SHORTEST] = hay[at..].first_chunk().expect("so many are left");
            let Some(written) = by_head.get(head) else { continue };
            found.extend(written.iter().filter(|(form, _)| hay[at..].starts_with(form)).map(|(_, what)| what.clone()));
        }
        found
    }
}

/// Every way in which a secret may be written, in lower case.
fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut forms = vec![
        ("raw", secret.to_vec()),
        ("hex", hex.into_bytes()),
        ("numbers", numbers.join(", ").into_bytes()),
        ("JSON numbers", numbers.join(",").into_bytes()),
        ("escaped", secret.escape_ascii().to_string().into_bytes()),
    ];
    for before in 0..3 {
        let url = base64_after(before, secret, &URL_SAFE_NO_PAD);
        // A frame or a body in hexadecimal, with JSON in it.
        forms.push(("base64url in hex", url.iter().map(|c| format!("{c:02x}")).collect::<String>().into_bytes()));
        forms.push(("base64url", url));
        forms.push(("base64", base64_after(before, secret, &STANDARD_NO_PAD)));
    }
    forms.iter_mut().for_each(|(_, form)| form.make_ascii_lowercase());
    forms
}

/// The characters that are a secret's alone when so many other bytes stand before it, and any after.
fn base64_after(before: usize, secret: &[u8], engine: &impl Engine) -> Vec<u8> {
    let text = engine.encode([&vec![0; before], secret].concat()).into_bytes();
    let shared_at_the_end = usize::from(!(before + secret.len()).is_multiple_of(3));
    text[[0, 2, 3][before]..text.len() - shared_at_the_end].to_vec()
}

/// Eight bytes: fewer are found anywhere.
const SHORTEST: usize = 8;
const PART: usize = 32;

#[test]
fn a_secret_is_found_however_it_is_written() {
    let secret: [u8; 20] = std::array::from_fn(|at| (at * 37 + 200) as u8);
    let mut needles = Needles::default();
    needles.add("a token", &secret);
    let hex: String = secret.iter().map(|byte| format!("{byte:02X}")).collect();
    for hay in [
        [&b"before"[..], &secret, b"after"].concat(),
        format!("x{hex}y").into_bytes(),
        format!("{secret:?}").into_bytes(),
        serde_json::to_vec(&secret).expect("JSON"),
        format!("b\"{}\"", secret.escape_ascii()).into_bytes(),
        STANDARD_NO_PAD.encode(secret).into_bytes(),
        URL_SAFE_NO_PAD.encode(secret).bytes().map(|c| format!("{c:02x}")).collect::<String>().into_bytes(),
        URL_SAFE_NO_PAD.encode([&b"a"[..], &secret, b"z"].concat()).into_bytes(),
        URL_SAFE_NO_PAD.encode([&b"ab"[..], &secret, b"zz"].concat()).into_bytes(),
        STANDARD_NO_PAD.encode([&b"abc"[..], &secret, b"zzz"].concat()).to_lowercase().into_bytes(),
    ] {
        assert!(!needles.found_in(&hay).is_empty(), "{}", hay.escape_ascii());
    }
    assert!(needles.found_in(&secret[1..]).is_empty());
    assert!(needles.found_in(b"nothing of the kind").is_empty());
}
