//! T4, T5: random texts, counted by us and by what others wrote: `sms-segments-calculator`, and Python's CP949.

use backstop_domain::text::{Carrier, Encoding, count, fit};
use encoding_rs::EUC_KR;
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
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/doubles/sms_segments.cjs");
    let answers = ask(Command::new("node").arg(script).arg(&package), &texts);
    for (text, answer) in texts.iter().zip(answers) {
        let ours = count(text, Carrier::International);
        let encoding = if ours.encoding == Encoding::Gsm7 { "GSM-7" } else { "UCS-2" };
        let ours = serde_json::to_string(&(encoding, ours.segments)).unwrap();
        assert_eq!(ours, answer, "{text:?}");
    }
}

/// T4, T5: every character that CP949 has counts as its codec says, and stays as it is; no other leaves.
#[test]
fn t5_cp949_has_the_characters_that_the_platforms_codec_has() {
    let texts: Vec<String> = (0..=0xffff).filter_map(char::from_u32).map(String::from).collect();
    for (text, bytes) in texts.iter().zip(cp949(&texts)) {
        let (size, carried) = (count(text, ENDLESS), carried(text));
        let Some(bytes) = bytes else {
            assert_ne!(&carried, text, "it has none");
            continue;
        };
        assert_eq!((size.encoding, size.units as usize), (Encoding::Cp949, bytes.len()), "{text:?}");
        assert_eq!(EUC_KR.encode(text).0, bytes, "{text:?}");
        let is_hidden = text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{ad}');
        assert!(carried == *text || is_hidden, "{text:?}");
    }
}

/// T4, T5: what leaves of a random text is what the platform's codec encodes, byte by byte, and is as long as we say.
#[test]
fn t5_texts_leave_as_the_platforms_codec_writes_them() {
    let mut random = Random(0xc949);
    let given: Vec<String> = (0..TEXTS).map(|_| random.text()).collect();
    let texts: Vec<String> = given.iter().map(|text| carried(text)).collect();
    for ((given, text), bytes) in given.iter().zip(&texts).zip(cp949(&texts)) {
        let bytes = bytes.unwrap_or_else(|| panic!("{given:?} leaves as {text:?}"));
        assert_eq!(count(text, ENDLESS).units as usize, bytes.len(), "{text:?}");
        assert_eq!(EUC_KR.encode(text).0, bytes, "{text:?}");
    }
}

/// As a relay counts, without an end.
const ENDLESS: Carrier = Carrier::Korean { sms_bytes: u16::MAX, lms: false };

fn carried(text: &str) -> String {
    fit(text, "", ENDLESS, 1).text
}

/// The bytes of each by Python's codec; `None` = it has none for some of its characters.
fn cp949(texts: &[String]) -> Vec<Option<Vec<u8>>> {
    let python = std::env::var_os("BACKSTOP_PYTHON")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../.venv/bin/python3").into(), PathBuf::from);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/doubles/cp949.py");
    let answers = ask(Command::new(python).arg(script), texts);
    answers.iter().map(|answer| (answer != "-").then(|| hex::decode(answer).unwrap())).collect()
}

/// One line of answer for each text.
fn ask(peer: &mut Command, texts: &[String]) -> Vec<String> {
    let mut peer = peer
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{peer:?}: {error}; tests/run installs it"));
    let mut to_peer = peer.stdin.take().unwrap();
    let asked = texts.to_vec();
    let asking = std::thread::spawn(move || {
        for text in asked {
            writeln!(to_peer, "{}", serde_json::to_string(&text).unwrap()).unwrap();
        }
    });
    let counted = peer.wait_with_output().unwrap();
    asking.join().unwrap();
    assert!(counted.status.success());
    let answers: Vec<String> = String::from_utf8(counted.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), texts.len());
    answers
}
