//! The corpora of the fuzz targets: files of a line an input, with `\n` for a line feed, `\\` for a backslash, `\xNN` for a byte,
//! and `\*N;` for N more of the byte before. `fuzz/seeds.py` reads them too.

use std::path::Path;

/// Judges every input of a corpus; one that is not read by the rules fails, and is named by its line.
pub(crate) fn replay(name: &str, judge: impl Fn(&[u8]) -> bool) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fuzz/corpus").join(name);
    let corpus = std::fs::read_to_string(&file).expect("a corpus");
    let inputs: Vec<Vec<u8>> = corpus.lines().map(unescaped).collect();
    let mut taken = 0;
    for (at, input) in inputs.iter().enumerate() {
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(input)));
        taken += usize::from(judged.unwrap_or_else(|_| panic!("{}, line {}", file.display(), at + 1)));
    }
    // One that holds only good ones, or only bad ones, shows little.
    assert!(taken >= 3 && inputs.len() - taken >= 3, "{name}: {taken} of {} are taken", inputs.len());
}

fn unescaped(line: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), line.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        rest = match (first, tail) {
            (b'\\', [b'n', tail @ ..]) => {
                bytes.push(b'\n');
                tail
            }
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digits = [char::from(*high), char::from(*low)].map(|digit| digit.to_digit(16).expect("a digit"));
                bytes.push((digits[0] << 4 | digits[1]) as u8);
                tail
            }
            (b'\\', [b'*', tail @ ..]) => {
                let end = tail.iter().position(|byte| *byte == b';').expect("a count ends");
                let count = std::str::from_utf8(&tail[..end]).expect("digits").parse().expect("a count");
                bytes.extend(vec![*bytes.last().expect("a byte before"); count]);
                &tail[end + 1..]
            }
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                tail
            }
            (b'\\', _) => panic!("not an escape: {line}"),
            _ => {
                bytes.push(*first);
                tail
            }
        };
    }
    bytes
}
