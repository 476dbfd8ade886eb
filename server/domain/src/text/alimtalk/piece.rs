//! Reading a template: fixed text and variables, in their order.

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// As approved.
    Text(&'a str),
    /// `#{name}`.
    Variable(&'a str),
}

/// A variable that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// `#{` without its `}`: the character where it begins, from 1.
    Unclosed(usize),
    /// `#{}`, or a name that Kakao or the relay does not take.
    Name(String),
}

const MAX_NAME_CHARS: usize = 64;

impl<'a> Piece<'a> {
    pub(super) fn variable(&self) -> Option<&'a str> {
        match self {
            Piece::Variable(name) => Some(name),
            Piece::Text(_) => None,
        }
    }
}

/// The parts of a text; put together again they are that text.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Syntax> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("#{") {
        let (before, variable) = rest.split_at(at);
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let begins = || text[..text.len() - variable.len()].chars().count() + 1;
        let inside = &variable[2..];
        let end = inside.find('}').ok_or_else(|| Syntax::Unclosed(begins()))?;
        let name = &inside[..end];
        if name.contains("#{") || name.contains(['\n', '\r']) {
            return Err(Syntax::Unclosed(begins()));
        }
        if !is_name(name) {
            return Err(Syntax::Name(name.chars().take(MAX_NAME_CHARS).collect()));
        }
        pieces.push(Piece::Variable(name));
        rest = &inside[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// The relay reads a point in a name as a path.
pub(super) fn is_name(name: &str) -> bool {
    let strange = |c: char| c.is_control() || matches!(c, '.' | '#' | '{' | '}');
    !name.trim().is_empty() && name.chars().count() <= MAX_NAME_CHARS && !name.contains(strange)
}
