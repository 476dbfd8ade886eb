//! Holds the tests to the rules: each rule of server/domain/RULES.md is named by a test, or listed there as planned.

use super::source::Source;
use super::{root, rust_sources};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The rules in the order of the page, and what is planned: rule id → the capability that brings it.
struct Rules {
    ids: Vec<String>,
    planned: BTreeMap<String, String>,
}

impl Rules {
    fn read(page: &str) -> Rules {
        let (rules, planned) = page.split_once("\n## Planned\n").expect("RULES.md has a section `## Planned`");
        let ids = rules.lines().filter_map(|l| l.strip_prefix("- ")).filter_map(|l| l.split(' ').next());
        let rows = planned.lines().filter(|l| l.starts_with('|')).skip(2);
        let cells = rows.map(|l| l.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
        let each = cells.flat_map(|c| {
            let comes_with = c[2].to_owned();
            c[0].split(' ').map(move |id| (id.to_owned(), comes_with.clone())).collect::<Vec<_>>()
        });
        Rules { ids: ids.filter(|id| is_id(id)).map(str::to_owned).collect(), planned: each.collect() }
    }
}

#[derive(Debug, PartialEq)]
enum Coverage<'a> {
    Guarded,
    Partly(&'a str),
    Planned(&'a str),
    Missing,
}

/// `tests/run` shows what this prints.
#[test]
fn every_rule_is_named_by_a_test_or_planned() {
    let page = fs::read_to_string(root().join("server/domain/RULES.md")).expect("the rules can be read");
    let rules = Rules::read(&page);
    assert!(rules.ids.len() >= 60, "only {} rules were found: has the page another form?", rules.ids.len());
    let known: BTreeSet<_> = rules.ids.iter().collect();
    let strange: Vec<_> = rules.planned.keys().filter(|id| !known.contains(id)).collect();
    assert!(strange.is_empty(), "the table of planned rules names what is no rule: {strange:?}");

    let named = named_in_tests(rust_sources());
    let mut lines = Vec::new();
    let mut missing = Vec::new();
    for id in &rules.ids {
        let tests = named.get(id).copied().unwrap_or(0);
        let plan = rules.planned.get(id).map(String::as_str);
        lines.push(match coverage(tests, plan) {
            Coverage::Guarded => format!("{id:<4} guarded by {tests}"),
            Coverage::Partly(with) => format!("{id:<4} in part, guarded by {tests}; the rest: {with}"),
            Coverage::Planned(with) => format!("{id:<4} planned: {with}"),
            Coverage::Missing => {
                missing.push(id.as_str());
                format!("{id:<4} MISSING")
            }
        });
    }
    println!("rule coverage (tests that name the rule)\n{}", lines.join("\n"));
    assert!(missing.is_empty(), "no test names these rules, and they are not planned: {}", missing.join(" "));
}

fn coverage(tests: usize, planned: Option<&str>) -> Coverage<'_> {
    match (tests, planned) {
        (0, None) => Coverage::Missing,
        (0, Some(with)) => Coverage::Planned(with),
        (_, None) => Coverage::Guarded,
        (_, Some(with)) => Coverage::Partly(with),
    }
}

/// Rule id → how many tests name it. A simulation has no `#[test]`: there each function that names a rule counts.
fn named_in_tests(sources: &[Source]) -> BTreeMap<String, usize> {
    let mut named = BTreeMap::new();
    for source in sources.iter().filter(|s| !s.path.starts_with("tests/it/tidy")) {
        let simulation = source.path.starts_with("tests/sim/");
        for function in source.functions().iter().filter(|f| f.is_test || simulation) {
            for id in ids(&function.words) {
                *named.entry(id).or_insert(0) += 1;
            }
        }
    }
    named
}

/// The rule ids in a comment (`P8, P11`, `D1–D3`) or in the name of a function (`p8_d3_late_ack`).
fn ids(words: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let is_word = |c: char| c.is_ascii_alphanumeric();
    let mut last: Option<(usize, &str)> = None;
    for (at, word) in words.split(|c: char| !is_word(c)).map(|w| (w.as_ptr() as usize - words.as_ptr() as usize, w)) {
        let in_name = words[..at].ends_with('_') || words[at + word.len()..].starts_with('_');
        let id = if in_name { word.to_ascii_uppercase() } else { word.to_owned() };
        if !is_id(&id) {
            continue;
        }
        if let Some((end, first)) = last
            && matches!(&words[end..at], "–" | "-")
            && first[..1] == word[..1]
        {
            found.extend((number(first)..=number(word)).map(|n| format!("{}{n}", &word[..1])));
        }
        found.insert(id);
        last = Some((at + word.len(), word));
    }
    found
}

fn number(id: &str) -> u32 {
    id[1..].parse().expect("an id is a letter and a number")
}

fn is_id(word: &str) -> bool {
    let mut chars = word.chars();
    let letter = chars.next().is_some_and(|c| "DPTESAXWC".contains(c));
    let digits = chars.as_str();
    letter && (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

#[test]
fn ids_are_read_from_comments_ranges_and_names() {
    let found = |words: &str| ids(words).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(found("/// P8, P11: one winner (see D3)."), "D3 P11 P8");
    assert_eq!(found("// D1–D3 and C1-C2"), "C1 C2 D1 D2 D3");
    assert_eq!(found("p8_late_ack_after_d5"), "D5 P8");
    assert_eq!(found("the p8 of 8P and PP8 and X100 and sha256"), "");
}

#[test]
fn only_tests_name_rules() {
    let text = "/// D1\nfn helper() {}\n\n/// D2\n#[test]\nfn p3_test() {\n    // D4\n}\n";
    let named = named_in_tests(&[Source::new("core/src/a.rs", text)]);
    assert_eq!(named.keys().collect::<Vec<_>>(), ["D2", "D4", "P3"]);
    assert!(named_in_tests(&[Source::new("tests/sim/a.rs", text)]).contains_key("D1"));
}

#[test]
fn planned_rules_are_read_with_what_brings_them() {
    let page = "- D1 a\n- D10 b\n  more\n- no rule\n";
    let table = "| Rules | x | y |\n|---|---|---|\n| D10 T1 | z | Later |\n";
    let rules = Rules::read(&format!("{page}\n## Planned\n\n{table}"));
    assert_eq!(rules.ids, ["D1", "D10"]);
    assert_eq!(rules.planned.get("T1").map(String::as_str), Some("Later"));
    assert_eq!(coverage(0, None), Coverage::Missing);
    assert_eq!(coverage(1, Some("Later")), Coverage::Partly("Later"));
}
