//! T4: parts of random texts, counted by us and by `sms-segments-calculator`, which others wrote.

use backstop_domain::text::{Encoding, count};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const TEXTS: usize = 100_000;

/// Characters that texts are made of, in kinds: a text takes from one to three of them.
const KINDS: &[&[&str]] = &[
    &["a", "b", "Z", " ", "0", "@", "$", "_", "\n", "\r\n", "é", "Ç", "Ω", "¡", "'", "\""],
    &["€", "[", "]", "{", "}", "|", "~", "^", "\\", "\u{c}"],
    &["가", "힣", "ㅋ", "漢", "字", "か", "ン", "я", "\u{2019}", "—", "…", "ç", "`", "\t"],
    &["😀", "🚚", "𝒳", "🇰🇷", "👍🏽", "👨\u{200d}👩\u{200d}👧\u{200d}👦", "❤\u{fe0f}"],
    &["e\u{301}", "a\u{308}\u{323}", "각", "ᄒ\u{1161}\u{11ab}", "\u{0e01}\u{0e33}", "n\u{303}"],
];

/// xorshift64*: the same texts at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % n
    }

    fn text(&mut self) -> String {
        let kinds: Vec<_> = (0..=self.below(3)).map(|_| KINDS[self.below(KINDS.len())]).collect();
        // Short ones, ones about the ends of a part, and long ones.
        let length = match self.below(4) {
            0 => self.below(20),
            1 => 60 + self.below(20),
            2 => 130 + self.below(50),
            _ => self.below(700),
        };
        let mut text = String::new();
        for _ in 0..length {
            let kind = kinds[self.below(kinds.len())];
            text.push_str(kind[self.below(kind.len())]);
        }
        text
    }
}

#[test]
fn t4_parts_are_those_that_another_program_counts() {
    let modules = std::env::var_os("BACKSTOP_NODE_MODULES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/../tools/node/node_modules")),
        PathBuf::from,
    );
    let package = modules.join("sms-segments-calculator");
    assert!(package.is_dir(), "{}: tests/run installs it", package.display());
    let mut random = Random(0x5eed);
    let texts: Vec<String> = (0..TEXTS).map(|_| random.text()).collect();
    let mut peer = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/doubles/sms_segments.cjs"))
        .arg(&package)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("node: {error}; tests/run installs it"));
    let mut to_peer = peer.stdin.take().unwrap();
    let asked = texts.clone();
    let asking = std::thread::spawn(move || {
        for text in asked {
            writeln!(to_peer, "{}", serde_json::to_string(&text).unwrap()).unwrap();
        }
    });
    let counted = peer.wait_with_output().unwrap();
    asking.join().unwrap();
    assert!(counted.status.success());
    let answers: Vec<&str> = std::str::from_utf8(&counted.stdout).unwrap().lines().collect();
    assert_eq!(answers.len(), texts.len());
    for (text, answer) in texts.iter().zip(answers) {
        let ours = count(text);
        let encoding = if ours.encoding == Encoding::Gsm7 { "GSM-7" } else { "UCS-2" };
        let ours = serde_json::to_string(&(encoding, ours.segments)).unwrap();
        assert_eq!(ours, answer, "{text:?}");
    }
}
