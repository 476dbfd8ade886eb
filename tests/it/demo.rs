//! `backstop demo`: the story comes out as it should, on a real server with phones that speak HTTP.

use backstop_server::demo::{Options, View, play};
use std::io::Write;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// P2, P3, P4, P5, P7, P8, D5: each customer's outcome and its reason, and what they can read instead of a push.
#[tokio::test]
async fn the_story_comes_out_as_it_should() {
    let page = Page::default();
    let options = Options { once: true, hurry: true, real_time: false };
    let played = play(&options, View::plain(), Box::new(page.clone())).await;
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert_eq!(played, Ok(()), "{text}");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let line = |name: &str, words: &str| lines.iter().any(|line| line.starts_with(name) && line.ends_with(words));
    for (name, words) in [
        ("Mina", "✓ acked"),
        ("Jonas", "✉ text + email · channel_off"),
        ("Aiko", "✉ text + email · token_gone"),
        ("Lucas", "✉ text + email · no_device"),
        ("Noor", "○ read, nothing sent"),
        ("Tom", "✉ text + email · no_ack"),
        ("Sofia", "✉ text + email, ack late · no_ack"),
        ("30.000  Tom", "no ack in 30.000 s: text and email go now"),
        ("36.500  Sofia", "the ack comes too late: noted, the decision stands"),
        ("5 texts", "left"),
        ("5 emails", "left"),
        ("│ Kim: It arrives today", "between two and four."),
        ("Aiko", "Lumen Marketからお返事が届いています"),
    ] {
        assert!(line(name, words), "{name} … {words}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour and no cursor where nobody can see them");
}
