//! Holds SECURITY.md to the tests: each threat is met by one that exists, or says what has to come first.

use std::collections::BTreeMap;

const THREATS: usize = 39;

/// T1–T39: none is left out, none is listed twice, and each names its test or the capability that brings it. Whether
/// the named tests exist, `tidy::pages_point_at_what_exists` looks.
#[test]
fn every_threat_names_its_test_or_what_brings_it() {
    let page = include_str!("../../SECURITY.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| T")).map(|row| {
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 4, "T{row}");
        (cells[0].parse::<usize>().unwrap(), cells[3].to_owned())
    });
    let rows: Vec<_> = rows.collect();
    let guards: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert!(guards.keys().copied().eq(1..=THREATS), "{:?}", guards.keys());
    assert_eq!(rows.len(), THREATS, "a threat is listed twice");
    for (number, guard) in guards {
        assert!(guard.contains("test `") || guard.starts_with("planned with "), "T{number}: {guard}");
    }
}
