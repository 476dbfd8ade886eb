//! From MJML to the HTML that every mail client shows alike. What stands in braces is for the template engine.

use mrml::prelude::parser::{Error, ParserOptions, Span};
use mrml::prelude::render::RenderOptions;

/// Elements in elements. Each takes stack, and no mail needs more.
const MAX_DEPTH: usize = 60;
/// Elements that have no end.
const VOID: [&str; 14] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"];

/// What MJML comes to.
pub(super) struct Made {
    pub(super) html: String,
    /// What MJML does not know and leaves out.
    pub(super) warnings: Vec<String>,
}

/// Why it is no MJML, and where.
pub(super) struct NoMjml {
    pub(super) line: Option<usize>,
    pub(super) message: String,
}

/// Reads and renders it; nothing is included from anywhere.
pub(super) fn html(source: &str) -> Result<Made, NoMjml> {
    let depth = depth(source);
    if depth > MAX_DEPTH {
        let message = format!("elements are nested {depth} deep: {MAX_DEPTH} is the most");
        return Err(NoMjml { line: None, message });
    }
    let parsed = mrml::mjml::Mjml::parse_with_options(source, &ParserOptions::default());
    let parsed = parsed.map_err(|error| described(source, &error))?;
    // No font is fetched from anywhere: whoever hosts it would learn who reads when.
    let options = RenderOptions { fonts: Default::default(), ..RenderOptions::default() };
    let html = parsed.element.render(&options).map_err(|_| NoMjml { line: None, message: INCOMPLETE.into() })?;
    if let Some((_, unknown)) = html.split_once("<mj-") {
        let name: String = unknown.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
        let line = source.find(&format!("<mj-{name}")).map(|at| line(source, at));
        return Err(NoMjml { line, message: format!("MJML has no <mj-{name}>, or not here") });
    }
    let at = |span: &Span| line(source, span.start);
    let warnings = parsed.warnings.iter().map(|warning| format!("line {}: {}", at(&warning.span), warning.kind));
    Ok(Made { html, warnings: warnings.collect() })
}

const INCOMPLETE: &str = "it cannot be rendered: check it against the MJML documentation";

fn described(source: &str, error: &Error) -> NoMjml {
    let (span, message) = match error {
        Error::UnexpectedElement { position, .. } => (Some(position), "this element is not known, or not here"),
        Error::UnexpectedToken { position, .. } => (
            Some(position),
            "this does not belong here: put text into mj-text, and {% … %} between elements into mj-raw",
        ),
        Error::MissingAttribute { position, .. } => (Some(position), "an attribute is missing"),
        Error::InvalidAttribute { position, .. } => (Some(position), "an attribute is not written as name=\"value\""),
        Error::InvalidFormat { position, .. } => (Some(position), "this is not closed as it was opened"),
        Error::IncludeLoaderError { position, .. } => (Some(position), "nothing can be included: write it out"),
        Error::EndOfStream { .. } | Error::NoRootNode => {
            (None, "it is not one whole <mjml>…</mjml>: close what is open")
        }
        Error::SizeLimit { .. } => (None, "it is too long"),
        Error::ParserError { source: error, .. } => return NoMjml { line: None, message: format!("{error}") },
    };
    NoMjml { line: span.map(|span| line(source, span.start)), message: message.into() }
}

/// Of this byte, from 1.
fn line(source: &str, at: usize) -> usize {
    1 + source.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// How deep elements are nested, at least: the parser calls itself for each, and its stack has an end.
fn depth(source: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let mut rest = source;
    while let Some((_, after)) = rest.split_once('<') {
        let skip = |end: &str| after.split_once(end).map_or("", |(_, after)| after);
        if after.starts_with("!--") {
            rest = skip("-->");
            continue;
        }
        if after.starts_with("![CDATA[") {
            rest = skip("]]>");
            continue;
        }
        if !after.starts_with(|c: char| !c.is_whitespace() && !c.is_ascii_digit() && c != '=') {
            // A comparison, and no tag.
            rest = after;
            continue;
        }
        let (tag, after) = tag(after);
        rest = after;
        let name: String = tag.chars().take_while(|c| !c.is_whitespace() && *c != '/').collect();
        if tag.starts_with('/') {
            depth = depth.saturating_sub(1);
        } else if !tag.starts_with(['!', '?']) && !tag.ends_with('/') && !VOID.contains(&&*name) {
            depth += 1;
            deepest = deepest.max(depth);
        }
    }
    deepest
}

/// What stands before the `>` that ends the tag, and what follows it; one within quotes ends nothing.
fn tag(text: &str) -> (&str, &str) {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return (&text[..at], &text[at + 1..]),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(inner: &str) -> String {
        format!("<mjml>\n<mj-body>\n<mj-section><mj-column>{inner}</mj-column></mj-section>\n</mj-body>\n</mjml>")
    }

    fn error(source: &str) -> (Option<usize>, String) {
        html(source).map(|_| ()).map_err(|error| (error.line, error.message)).unwrap_err()
    }

    /// E1: what is wrong is named with its line.
    #[test]
    fn e1_what_is_no_mjml_is_told_with_its_line() {
        for (source, line, says) in [
            (String::new(), None, "not one whole <mjml>"),
            ("hello".into(), None, "at 1:1"),
            (body("<mj-text>hi"), None, "close what is open"),
            (body("<mj-wrong>hi</mj-wrong>"), Some(3), "MJML has no <mj-wrong>"),
            ("<mjml>\n<mj-body>\n\n<mj-include path=\"x\" /></mj-body></mjml>".into(), Some(4), "included"),
        ] {
            let (at, message) = error(&source);
            assert!(message.contains(says), "{source}: {at:?} {message}");
            assert_eq!(at, line, "{source}: {message}");
        }
    }

    /// E1: no template ends the process by its depth, whatever hides it.
    #[test]
    fn e1_nesting_is_bounded_on_both_sides() {
        let nested = |levels: usize, open: &str, close: &str| {
            body(&format!("<mj-text>{}{}</mj-text>", open.repeat(levels), close.repeat(levels)))
        };
        // mjml, body, section, column and text are there already.
        assert!(html(&nested(MAX_DEPTH - 5, "<b>", "</b>")).is_ok());
        assert!(error(&nested(MAX_DEPTH - 4, "<b>", "</b>")).1.contains("61 deep"));
        for open in
            ["<b x=\"/>\">", "<b><!-- </b> -->", "<b x='</b>'>", "<b><![CDATA[</b>]]>", "<b\n>", "<br:b>", "<b />x<b>"]
        {
            assert!(error(&nested(10_000, open, "</b>")).1.contains("deep"), "{open}");
        }
        assert_eq!(depth("<a><br><img src=x><hr/><b/></a> < 3 <"), 1);
    }
}
