//! After the story: what the customers got instead of a push, and how to go on.

use super::cast::CAST;
use super::screen::{Ink, Row, Screen, cut};
use crate::testing::Workspace;
use serde_json::Value;

/// The captured texts, one email in full and the subjects of the others.
pub(super) async fn print(screen: &mut Screen, shop: &Workspace, rows: &[Row]) {
    screen.table(rows);
    let texts = shop.outbox("sms").await;
    heading(screen, &format!("{} texts left", texts.len()));
    for text in &texts {
        let (name, _) = customer(rows, text);
        let to = text["to"].as_str().unwrap_or_default();
        screen.line(&format!("  {}  {}", screen.paint(Ink::Bold, &format!("{name:<6}")), screen.paint(Ink::Dim, to)));
        body(screen, text["payload"]["text"].as_str().unwrap_or_default());
    }
    let emails = shop.outbox("email").await;
    heading(screen, &format!("{} emails left", emails.len()));
    let shown = emails.iter().position(|email| customer(rows, email).1 == "en").unwrap_or_default();
    for (i, email) in emails.iter().enumerate() {
        let (name, _) = customer(rows, email);
        let to = email["to"].as_str().unwrap_or_default();
        let subject = email["payload"]["subject"].as_str().unwrap_or_default();
        let name = screen.paint(Ink::Bold, &format!("{name:<6}"));
        screen.line(&format!("  {name}  {}  {subject}", screen.paint(Ink::Dim, &format!("{to:<18}"))));
        if i == shown {
            body(screen, email["payload"]["text"].as_str().unwrap_or_default().trim());
        }
    }
    screen.line("");
}

/// Name and language of who a captured send is for.
fn customer(rows: &[Row], send: &Value) -> (&'static str, &'static str) {
    let found = rows.iter().zip(CAST).find(|(row, _)| send["followup_id"] == row.followup_id.as_str());
    found.map_or(("", ""), |(_, member)| (member.name, member.locale()))
}

fn heading(screen: &mut Screen, text: &str) {
    let text = screen.paint(Ink::Bold, text);
    screen.line("");
    screen.line(&format!("  {text}"));
    screen.line("");
}

fn body(screen: &mut Screen, text: &str) {
    let bar = screen.paint(Ink::Dim, "│");
    for line in text.lines() {
        let line = cut(line, screen.columns().saturating_sub(13));
        screen.line(format!("          {bar} {line}").trim_end());
    }
}

/// Lines to copy.
pub(super) fn invite(screen: &mut Screen, shop: &Workspace, clock_runs: bool) {
    let url = shop.url();
    let clock = if clock_runs { "runs until you first turn it" } else { "stands still until you turn it" };
    heading(screen, &format!("The server stays up. Its clock {clock}. Try:"));
    screen.line(&format!("  api() {{ curl -sS -H 'Authorization: Bearer {}' \\", shop.keys().api_key));
    screen.line(&format!("          -H 'Content-Type: application/json' \"{url}$@\"; echo; }}"));
    screen.line("");
    for (line, what) in [
        ("api '/v1/followups?customer_id=tom'", "the decision, with every step and its reason"),
        ("api '/sandbox/outbox?channel=email'", "the emails as they would have left"),
        (
            "api /v1/messages -d '{\"message_id\": \"m1\", \"conversation_id\": \"tom\", \"customer_id\": \"tom\", \
             \"author\": {\"name\": \"Kim\"}, \"text\": \"Still there?\"}'",
            "another reply to Tom's silent phone",
        ),
        ("api /sandbox/clock/advance -d '{\"ms\": 180000}'", "text and email leave (180 s after the last ones)"),
        ("api /openapi.json", "everything else"),
    ] {
        let what = screen.paint(Ink::Dim, &format!("  # {what}"));
        screen.line(&what);
        screen.line(&format!("  {line}"));
    }
    let end = screen.paint(Ink::Dim, "  Ctrl-C ends.");
    screen.line("");
    screen.line(&end);
}
