//! Reads Rust sources as far as the tidy tests need: what is code, what is a comment, where a function ends.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file, and the same text with everything but code, or everything but comments, blanked out.
/// All three have the same lines and the same byte offsets.
pub struct Source {
    /// Relative to the repository, with `/`.
    pub path: String,
    pub text: String,
    pub code: String,
    pub comments: String,
}

pub struct Function<'a> {
    pub name: &'a str,
    /// The first line of its signature, counted from 1.
    pub line: usize,
    pub lines: usize,
    pub is_test: bool,
    /// The comments above it and inside it, and its name.
    pub words: String,
}

impl Source {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        let (code, comments) = split(&text);
        Source { path: path.into(), text, code, comments }
    }

    /// Whether the whole file is test code.
    pub fn is_test_file(&self) -> bool {
        let inside = |dir: &str| self.path.starts_with(&format!("{dir}/")) || self.path.contains(&format!("/{dir}/"));
        inside("tests") || inside("benches") || self.path.ends_with("/tests.rs")
    }

    /// The code outside `#[cfg(test)] mod … { … }`; line numbers stay.
    pub fn production_code(&self) -> String {
        if self.is_test_file() {
            return String::new();
        }
        let mut code = self.code.clone();
        let mut from = 0;
        while let Some(at) = code[from..].find("#[cfg(test)]").map(|i| from + i) {
            let end = item_end(&code, at);
            let blank: String = code[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
            code.replace_range(at..end, &blank);
            from = at;
        }
        code
    }

    /// Every function with a body, nested ones too.
    pub fn functions(&self) -> Vec<Function<'_>> {
        let mut found = Vec::new();
        let mut from = 0;
        let (lines, comments): (Vec<_>, Vec<_>) = (self.text.lines().collect(), self.comments.lines().collect());
        while let Some(at) = self.code[from..].find("fn ").map(|i| from + i) {
            from = at + 3;
            let glued = self.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let name_len = self.code[from..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0);
            let end = item_end(&self.code, at);
            if glued || name_len == 0 || !self.code[at..end].ends_with('}') {
                continue;
            }
            let name = &self.code[from..from + name_len];
            let first = self.text[..at].matches('\n').count();
            let last = self.text[..end].matches('\n').count();
            let is_head = |l: &&&str| l.trim_start().starts_with("//") || l.trim_start().starts_with("#[");
            let above = first - lines[..first].iter().rev().take_while(is_head).count();
            let is_test = |l: &&str| l.trim_start().starts_with("#[") && (l.contains("test]") || l.contains("test("));
            found.push(Function {
                name,
                line: first + 1,
                lines: last - first + 1,
                is_test: lines[above..first].iter().any(is_test),
                words: [&comments[above..=last], &[name]].concat().join("\n"),
            });
        }
        found
    }
}

/// All files below the repository that are part of the project, as (relative path, full path), sorted.
pub fn files(root: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of the repository can be read") {
            let entry = entry.expect("a directory entry can be read");
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let kind = entry.file_type().expect("a file type can be read");
            if kind.is_dir() && !is_foreign(&name) {
                dirs.push(path);
            } else if kind.is_file() {
                let relative = path.strip_prefix(root).expect("the walk stays below its root");
                found.push((relative.to_string_lossy().replace('\\', "/"), path));
            }
        }
    }
    found.sort();
    found
}

/// Directories that tools make: nothing in them is committed.
fn is_foreign(name: &str) -> bool {
    name.starts_with("target")
        || matches!(name, ".git" | ".venv" | "node_modules" | ".gradle" | ".build" | "build" | "__pycache__")
}

/// From an item's first byte to the byte after its `;` or its closing brace.
fn item_end(code: &str, at: usize) -> usize {
    let (mut nested, mut braces) = (0_i32, 0_i32);
    for (i, c) in code[at..].char_indices() {
        match c {
            '(' | '[' => nested += 1,
            ')' | ']' => nested -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        let closed = c == '}' && braces <= 0 && nested <= 0;
        let ended = c == ';' && braces == 0 && nested <= 0;
        if closed || ended {
            return at + i + 1;
        }
    }
    code.len()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// The text twice: only its code, only its comments. Literals are in neither.
fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let mut kinds = vec![Kind::Code; bytes.len()];
    let mut at = 0;
    while at < bytes.len() {
        let (kind, len) = token(text, at);
        kinds[at..at + len].fill(kind);
        at += len;
    }
    let keep = |wanted: Kind| {
        let mut kept = String::with_capacity(text.len());
        for (i, c) in text.char_indices() {
            match c {
                '\n' => kept.push(c),
                _ if kinds[i] == wanted => kept.push(c),
                _ => kept.extend(std::iter::repeat_n(' ', c.len_utf8())),
            }
        }
        kept
    };
    (keep(Kind::Code), keep(Kind::Comment))
}

/// What stands at `at`, and how many bytes it is long.
fn token(text: &str, at: usize) -> (Kind, usize) {
    let rest = &text[at..];
    let glued = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let one = rest.chars().next().map_or(1, char::len_utf8);
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment(rest));
    }
    if !glued && let Some(len) = raw_string(rest) {
        return (Kind::Literal, len);
    }
    match rest.as_bytes()[0] {
        b'"' => (Kind::Literal, quoted(rest, '"')),
        b'\'' if is_char(rest) => (Kind::Literal, quoted(rest, '\'')),
        _ => (Kind::Code, one),
    }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let body = ["br", "cr", "r"].iter().find_map(|p| rest.strip_prefix(p))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inner = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = inner.find(&close).map_or(inner.len(), |i| i + close.len());
    Some(rest.len() - inner.len() + end)
}

fn quoted(rest: &str, mark: char) -> usize {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        if c == mark && !escaped {
            return i + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

/// `'x'` and `'\n'` are characters, `'a` is a lifetime.
fn is_char(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

#[test]
fn code_comments_and_literals_are_told_apart() {
    let text =
        "fn a<'x>(b: &'x str) { // one\n  let c = '\\''; let d = \"fn e() {\"; /* f /* g */ } */ h(r#\"}\"#)\n}\n";
    let source = Source::new("a.rs", text);
    assert_eq!((source.code.len(), source.comments.len()), (text.len(), text.len()));
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(&source.code), "fn a<'x>(b: &'x str) { let c = ; let d = ; h( ) }");
    assert_eq!(words(&source.comments), "// one /* f /* g */ } */");
}

#[test]
fn functions_are_found_with_what_is_said_about_them() {
    let test =
        "/// P8\n#[tokio::test]\nasync fn d3_late(a: [u8; 2]) {\n    // S1\n}\n\ntrait T {\n    fn no_body();\n}\n";
    let module = "#[cfg(test)]\nmod tests {\n    fn helper() {}\n}\nfn last() {}\n";
    let text = [test, module].concat();
    let source = Source::new("core/src/a.rs", text);
    let found: Vec<_> = source.functions().into_iter().map(|f| (f.name, f.line, f.lines, f.is_test)).collect();
    assert_eq!(found, [("d3_late", 3, 3, true), ("helper", 12, 1, false), ("last", 14, 1, false)]);
    let words = &source.functions()[0].words;
    assert!(words.contains("P8") && words.contains("S1") && words.contains("d3_late"), "{words}");
    assert!(!source.production_code().contains("helper") && source.production_code().contains("fn last"));
}
