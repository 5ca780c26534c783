//! Reads Rust source far enough to say which paths it names: comments, strings and characters are skipped, `use` trees
//! are unfolded. Not a parser: what it does not know it passes over. Called by `floors`, which knows what the paths mean.

/// A path as the source writes it, with what is needed to tell where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// `["super", "auth", "Session"]`; a glob ends in `"*"`.
    pub(crate) segments: Vec<String>,
    /// From 1.
    pub(crate) line: usize,
    /// The inline modules around it, outermost first.
    pub(crate) inside: Vec<String>,
    /// It stands in a `#[cfg(test)] mod`.
    pub(crate) in_tests: bool,
    /// It stands in a `use`.
    pub(crate) imported: bool,
    /// It stands in a `pub use`: the name under which others see it.
    pub(crate) exported_as: Option<String>,
}

/// What a file names.
pub(crate) fn paths(source: &str) -> Vec<Named> {
    let tokens = tokens(source);
    let test_blocks = test_blocks(&tokens);
    let mut blocks: Vec<(Option<String>, bool)> = Vec::new();
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let in_tests = blocks.last().is_some_and(|block| block.1);
        match &tokens[at].kind {
            Kind::Mark('{') => {
                let name = if at >= 2 && tokens[at - 2].is_word("mod") { tokens[at - 1].word() } else { None };
                blocks.push((name.map(str::to_owned), in_tests || test_blocks.contains(&at)));
            }
            Kind::Mark('}') => {
                blocks.pop();
            }
            Kind::Word(word) if !(at > 0 && tokens[at - 1].continues_a_path()) => {
                let start = at;
                let mut named = Vec::new();
                let imported = word == "use" && !tokens.get(at + 1).is_some_and(|next| next.kind == Kind::Mark('<'));
                if imported {
                    at += 1;
                    unfold(&tokens, &mut at, &[], &mut named);
                } else {
                    let segments = run(&tokens, &mut at);
                    named.push((segments, tokens[start].line, None));
                    at -= 1;
                }
                let exported =
                    imported && start > 0 && (tokens[start - 1].is_word("pub") || tokens[start - 1].kind == Kind::Mark(')'));
                let inside: Vec<String> = blocks.iter().filter_map(|block| block.0.clone()).collect();
                for (segments, line, alias) in named {
                    let exported_as = if exported { alias.or_else(|| segments.last().cloned()) } else { None };
                    found.push(Named { segments, line, inside: inside.clone(), in_tests, imported, exported_as });
                }
            }
            _ => {}
        }
        at += 1;
    }
    found.retain(|named| named.segments.len() > 1 || named.imported);
    found
}

/// One leaf of a `use` tree: its path, its line, and its name when it is given another.
type Leaf = (Vec<String>, usize, Option<String>);

/// Unfolds a `use` tree from `at`, leaving `at` on what follows it.
fn unfold(tokens: &[Token], at: &mut usize, prefix: &[String], leaves: &mut Vec<Leaf>) {
    let mut path = prefix.to_vec();
    let mut line = tokens.get(*at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(*at) {
        match &token.kind {
            Kind::Word(word) if word == "as" => {
                let alias = tokens.get(*at + 1).and_then(Token::word).map(str::to_owned);
                *at += 2;
                leaves.push((path, line, alias));
                return;
            }
            Kind::Word(word) => {
                line = token.line;
                if word != "self" || path.is_empty() {
                    path.push(word.clone());
                }
            }
            Kind::Separator => {}
            Kind::Mark('*') => path.push("*".into()),
            Kind::Mark('{') => {
                *at += 1;
                while tokens.get(*at).is_some_and(|token| token.kind != Kind::Mark('}')) {
                    let before = *at;
                    unfold(tokens, at, &path, leaves);
                    if tokens.get(*at).is_some_and(|token| token.kind == Kind::Mark(',')) {
                        *at += 1;
                    }
                    if *at == before {
                        return;
                    }
                }
                *at += 1;
                return;
            }
            _ => break,
        }
        *at += 1;
    }
    leaves.push((path, line, None));
}

/// The words joined by `::` from `at`, leaving `at` behind the last.
fn run(tokens: &[Token], at: &mut usize) -> Vec<String> {
    let mut segments = Vec::new();
    while let Some(word) = tokens.get(*at).and_then(Token::word) {
        segments.push(word.to_owned());
        *at += 1;
        if tokens.get(*at).is_none_or(|token| token.kind != Kind::Separator)
            || tokens.get(*at + 1).and_then(Token::word).is_none()
        {
            break;
        }
        *at += 1;
    }
    segments
}

/// Where the braces of modules under `#[cfg(test)]` open.
fn test_blocks(tokens: &[Token]) -> Vec<usize> {
    let mut opens = Vec::new();
    for start in 0..tokens.len() {
        let Some((attribute, mut at)) = attribute(tokens, start) else { continue };
        let names = |name| attribute.iter().any(|token| token.is_word(name));
        if !attribute.first().is_some_and(|token| token.is_word("cfg")) || !names("test") || names("not") || names("any") {
            continue;
        }
        while let Some((_, next)) = self::attribute(tokens, at) {
            at = next;
        }
        if tokens.get(at).is_some_and(|token| token.is_word("mod"))
            && tokens.get(at + 2).is_some_and(|token| token.kind == Kind::Mark('{'))
        {
            opens.push(at + 2);
        }
    }
    opens
}

/// The tokens of the attribute that begins at `at`, and where it is over.
fn attribute(tokens: &[Token], at: usize) -> Option<(&[Token], usize)> {
    if tokens.get(at)?.kind != Kind::Mark('#') || tokens.get(at + 1)?.kind != Kind::Mark('[') {
        return None;
    }
    let mut depth = 0;
    for (offset, token) in tokens[at + 1..].iter().enumerate() {
        match token.kind {
            Kind::Mark('[') => depth += 1,
            Kind::Mark(']') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let end = at + 1 + offset;
            return Some((&tokens[at + 2..end], end + 1));
        }
    }
    None
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Word(String),
    Separator,
    Mark(char),
    Literal,
}

#[derive(Debug)]
struct Token {
    kind: Kind,
    line: usize,
}

impl Token {
    fn word(&self) -> Option<&str> {
        if let Kind::Word(word) = &self.kind { Some(word) } else { None }
    }

    fn is_word(&self, wanted: &str) -> bool {
        self.word() == Some(wanted)
    }

    fn continues_a_path(&self) -> bool {
        matches!(self.kind, Kind::Mark('.'))
    }
}

/// Words, `::` and marks; comments are gone, literals are one token each.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let char_at = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let (mut at, mut line, mut tokens) = (0, 1, Vec::new());
    while at < chars.len() {
        let start = at;
        let kind = match (chars[at], char_at(at + 1)) {
            ('/', '/') => {
                at = chars.iter().skip(at).position(|c| *c == '\n').map_or(chars.len(), |length| at + length);
                None
            }
            ('/', '*') => {
                at = after_comment(&chars, at);
                None
            }
            ('"', _) => {
                at = after_string(&chars, at);
                Some(Kind::Literal)
            }
            ('\'', next) => {
                if next != '\\' && char_at(at + 2) != '\'' {
                    // A lifetime: its name is no path.
                    at += 1;
                    while is_word_char(char_at(at)) {
                        at += 1;
                    }
                    None
                } else {
                    at += if next == '\\' { 3 } else { 2 };
                    at = chars.iter().skip(at).position(|c| *c == '\'').map_or(chars.len(), |length| at + length + 1);
                    Some(Kind::Literal)
                }
            }
            (':', ':') => {
                at += 2;
                Some(Kind::Separator)
            }
            (c, _) if is_word_char(c) => {
                while is_word_char(char_at(at)) {
                    at += 1;
                }
                let word: String = chars[start..at].iter().collect();
                let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                if matches!(word.as_str(), "r" | "br" | "cr") && char_at(at + hashes) == '"' {
                    at = after_raw_string(&chars, at, hashes);
                    Some(Kind::Literal)
                } else if matches!(word.as_str(), "b" | "c") && char_at(at) == '"' {
                    at = after_string(&chars, at);
                    Some(Kind::Literal)
                } else if word == "r" && hashes == 1 {
                    // `r#type` is the word after it.
                    at += 1;
                    None
                } else if c.is_ascii_digit() {
                    Some(Kind::Literal)
                } else {
                    Some(Kind::Word(word))
                }
            }
            (c, _) => {
                at += 1;
                (!c.is_whitespace()).then_some(Kind::Mark(c))
            }
        };
        tokens.extend(kind.map(|kind| Token { kind, line }));
        line += chars[start..at].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn after_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn after_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn after_raw_string(chars: &[char], start: usize, hashes: usize) -> usize {
    let mut at = start + hashes + 1;
    while at < chars.len() {
        if chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}
