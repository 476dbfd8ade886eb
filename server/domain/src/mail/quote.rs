//! What is new in an answer by mail: its quotation of the mail before, and the signature below, are taken away (E3).
//!
//! Mail programs agree on little. What a program marks (`>`) is taken away wherever it stands, so that answers between
//! quoted lines stay; what it only announces (a separator, a block of headers, our own line) ends the answer.

/// The line on top of our mails, by language: what an answer has below it is ours.
pub const MARKERS: [(&str, &str); 3] = [
    ("en", "— Reply above this line —"),
    ("ko", "— 이 선 위에 답장을 입력하세요 —"),
    ("ja", "— この線より上にご返信ください —"),
];

/// An announcement of a quotation is broken into so many lines at most.
const MAX_ANNOUNCEMENT_LINES: usize = 3;
const MAX_ANNOUNCEMENT_CHARS: usize = 400;
/// A block of headers is told by so many of the lines after its first.
const HEADERS_WITHIN: usize = 5;
/// Below `--` stands a signature if it is no longer.
const MAX_SIGNATURE_LINES: usize = 15;
const MAX_MOBILE_CHARS: usize = 70;

/// Words in a line of dashes above the mail before.
const SEPARATORS: &[&str] = &[
    "original message",
    "original mail",
    "원본 메시지",
    "원본메시지",
    "원본 메일",
    "원본메일",
    "원문",
    "元のメッセージ",
    "元メッセージ",
    "オリジナルメッセージ",
    "forwarded message",
    "forwarded by",
    "ursprüngliche nachricht",
    "message d'origine",
    "message original",
    "mensaje original",
    "messaggio originale",
    "mensagem original",
    "oorspronkelijk bericht",
    "原始邮件",
    "原始郵件",
];

/// The first line of a block of headers.
const FROM: &[&str] = &["from", "보낸 사람", "보낸사람", "보낸이", "差出人", "送信者", "von", "de", "发件人", "寄件者"];
/// What follows it.
const HEADERS: &[&str] = &[
    "sent",
    "date",
    "to",
    "cc",
    "subject",
    "reply-to",
    "보낸 날짜",
    "보낸날짜",
    "날짜",
    "받는 사람",
    "받는사람",
    "받는이",
    "참조",
    "제목",
    "送信日時",
    "送信日",
    "日時",
    "日付",
    "宛先",
    "件名",
    "gesendet",
    "datum",
    "an",
    "betreff",
    "envoyé",
    "à",
    "objet",
    "enviado",
    "enviado el",
    "para",
    "asunto",
    "assunto",
    "发送时间",
    "收件人",
    "主题",
];

/// How an announcement begins, and its verb. An empty beginning = any.
const ANNOUNCEMENTS: &[(&str, &str)] = &[
    ("on ", "wrote"),
    ("", "님이 작성"),
    ("", "님이 쓴 글"),
    ("", "작성"),
    ("", "쓴 메시지"),
    ("", "썼습니다"),
    ("", "작성했습니다"),
    ("", "のメール"),
    ("", "は書きました"),
    ("", "のメッセージ"),
    ("am ", "schrieb"),
    ("le ", "a écrit"),
    ("el ", "escribió"),
    ("il ", "ha scritto"),
    ("em ", "escreveu"),
    ("op ", "schreef"),
    ("", "写道"),
    ("", "寫道"),
];

/// How lines begin that a phone adds.
const MOBILE_BEGINS: &[&str] = &[
    "sent from my ",
    "sent from mail for ",
    "sent from outlook",
    "sent from yahoo",
    "sent from samsung",
    "sent from galaxy",
    "sent from proton",
    "sent from gmail",
    "sent via ",
    "get outlook for ",
    "von meinem ",
    "gesendet von mein",
    "envoyé de mon ",
    "envoyé depuis mon ",
    "enviado desde mi ",
    "inviato da ",
];
/// How others end, and what is in them.
const MOBILE_ENDS: &[&str] = &[
    "에서 보냄",
    "에서 보냈습니다",
    "에서 보낸 메일입니다",
    "에서 발송",
    "에서 전송",
    "에서 전송됨",
    "から送信",
    "から送信されました",
    "から送信しました",
    "发自我的",
];
const MOBILE_NAMES: &[&str] = &[
    "iphone",
    "ipad",
    "아이폰",
    "galaxy",
    "갤럭시",
    "android",
    "안드로이드",
    "스마트폰",
    "휴대폰",
    "휴대전화",
    "모바일",
    "mail",
    "메일",
    "メール",
    "スマートフォン",
    "スマホ",
    "outlook",
    "携帯",
];

/// What is behind the `>` of a face.
const FACES: &[&str] = &["_<", "_>", ".<", ".>", "<", ":(", ":)", ":[", ";("];

/// The line for mails in this language; English where there is none.
pub fn marker(locale: Option<&str>) -> &'static str {
    let language = locale.unwrap_or_default().split(['-', '_']).next().unwrap_or_default();
    let of = |(known, _): &&(&str, &str)| known.eq_ignore_ascii_case(language);
    MARKERS.iter().find(of).unwrap_or(&MARKERS[0]).1
}

/// What the writer of this mail wrote; empty = nothing but what was there before.
pub fn new_text(text: &str) -> String {
    let cleaned = clean(text);
    let lines: Vec<&str> = cleaned.lines().map(str::trim_end).collect();
    let end = end_of_answer(&lines);
    let kept = without_quotes(&lines[..end]);
    let kept = without_signature(&kept);
    joined(kept)
}

/// A text without control characters, and without empty lines at its ends.
pub fn tidy(text: &str) -> String {
    let cleaned = clean(text);
    joined(&cleaned.lines().collect::<Vec<_>>())
}

/// Line ends as `\n`, no invisible characters but those that scripts and emoji need.
fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let keep =
        |c: &char| matches!(c, '\n' | '\t') || !(c.is_control() || matches!(c, '\u{feff}' | '\u{200b}' | '\u{ad}'));
    text.chars().filter(keep).map(|c| if c == '\u{a0}' { ' ' } else { c }).collect()
}

/// The number of lines before the first that certainly begins the mail before.
fn end_of_answer(lines: &[&str]) -> usize {
    for at in 0..lines.len() {
        let line = lines[at].trim();
        // What a program marked goes by itself, and what stands between it is an answer.
        if line.is_empty() || is_quoted(line) {
            continue;
        }
        if is_marker(line) {
            return before_announcement(lines, at);
        }
        if is_separator(line) || is_header_block(&lines[at..]) {
            return before_rule(lines, at);
        }
        if let Some(count) = announcement(&lines[at..])
            && !next_text(lines, at + count).is_some_and(is_quoted)
        {
            return before_rule(lines, at);
        }
    }
    lines.len()
}

/// Our own line. Programs put their marks before it, and some put it into bold.
fn is_marker(line: &str) -> bool {
    let bare = |text: &str| text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let line = bare(line);
    !line.is_empty() && MARKERS.iter().any(|(_, marker)| bare(marker) == line)
}

/// Whatever announces our line belongs to it, in whichever language.
fn before_announcement(lines: &[&str], marker: usize) -> usize {
    let end = trimmed_end(lines, marker);
    let first = (0..end).rev().find(|at| lines[*at].trim().is_empty()).map_or(0, |blank| blank + 1);
    let paragraph = &lines[first..end];
    let text = paragraph.join(" ");
    let announces = paragraph.len() <= MAX_ANNOUNCEMENT_LINES
        && text.chars().count() <= MAX_ANNOUNCEMENT_CHARS
        && text.contains(|c: char| c.is_ascii_digit())
        && text.trim_end().ends_with([':', '：']);
    if announces { before_rule(lines, first) } else { before_rule(lines, end) }
}

/// A line of dashes or underscores above belongs to what it separates.
fn before_rule(lines: &[&str], at: usize) -> usize {
    let end = trimmed_end(lines, at);
    let is_rule = |line: &str| line.len() >= 5 && line.chars().all(|c| matches!(c, '_' | '-' | '=' | '*' | '─' | '━'));
    match end.checked_sub(1) {
        Some(last) if is_rule(lines[last].trim()) => trimmed_end(lines, last),
        _ => end,
    }
}

fn trimmed_end(lines: &[&str], end: usize) -> usize {
    (0..end).rev().find(|at| !lines[*at].trim().is_empty()).map_or(0, |at| at + 1)
}

fn next_text<'a>(lines: &[&'a str], from: usize) -> Option<&'a str> {
    lines.get(from..)?.iter().copied().find(|line| !line.trim().is_empty())
}

fn is_separator(line: &str) -> bool {
    let inner = line.trim_matches(|c: char| matches!(c, '-' | '—' | '=' | '*' | ' ' | '<' | '>' | '[' | ']'));
    let is_ruled = line.starts_with("--") || line.starts_with("==") || line.starts_with("——");
    is_ruled && inner.len() + 3 < line.len() && {
        let inner = inner.to_lowercase();
        SEPARATORS.iter().any(|word| inner.starts_with(word))
    }
}

/// `From: …` and some of the others right after it.
fn is_header_block(lines: &[&str]) -> bool {
    let Some(first) = lines.first().and_then(|line| header_name(line)) else { return false };
    if !FROM.contains(&first.as_str()) {
        return false;
    }
    let rest = lines[1..].iter().filter(|line| !line.trim().is_empty()).take(HEADERS_WITHIN);
    rest.filter(|line| header_name(line).is_some_and(|name| HEADERS.contains(&name.as_str()))).count() >= 2
}

/// What stands before the colon, without what makes it bold.
fn header_name(line: &str) -> Option<String> {
    let line = line.trim_start_matches(['*', ' ', '|', '\t']);
    let (name, _) = line.split_once([':', '：'])?;
    let name = name.trim_matches(['*', ' ']);
    (name.chars().count() <= 16).then(|| name.to_lowercase())
}

/// How many lines announce a quotation here: `On Monday Shop <a@shop.example> wrote:`.
fn announcement(lines: &[&str]) -> Option<usize> {
    let mut text = String::new();
    for (at, line) in lines.iter().take(MAX_ANNOUNCEMENT_LINES).enumerate() {
        let line = line.trim();
        if line.is_empty() || is_quoted(line) {
            return None;
        }
        text.push_str(line);
        text.push(' ');
        if line.ends_with([':', '：']) {
            return announces(&text).then_some(at + 1);
        }
    }
    None
}

fn announces(text: &str) -> bool {
    let text = text.trim().trim_end_matches([':', '：', ' ']).to_lowercase();
    if text.chars().count() > MAX_ANNOUNCEMENT_CHARS {
        return false;
    }
    // Who and when: a sentence of the writer's own rarely has both.
    let has_address = text.contains('@') && text.contains(['<', '(', '[']);
    let has_digit = text.contains(|c: char| c.is_ascii_digit());
    let has_time = text.as_bytes().windows(3).any(|w| w[0].is_ascii_digit() && w[1] == b':' && w[2].is_ascii_digit());
    has_digit && (has_address || has_verb(&text) && has_time)
}

/// `text` in lower case, without its colon. Where the beginning is a word, the verb may stand before the name.
fn has_verb(text: &str) -> bool {
    ANNOUNCEMENTS.iter().any(|(begin, verb)| {
        let within = || !begin.is_empty() && text.contains(&format!(" {verb} "));
        text.starts_with(begin) && (text.ends_with(verb) || within())
    })
}

fn is_quoted(line: &str) -> bool {
    let Some(rest) = line.trim_start().strip_prefix('>') else { return false };
    !FACES.iter().any(|face| rest.starts_with(face))
}

/// Marked lines go, and what announces them.
fn without_quotes<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut kept: Vec<&str> = Vec::with_capacity(lines.len());
    let mut in_quote = false;
    for line in lines {
        let quoted = is_quoted(line);
        if quoted && !in_quote {
            drop_announcement(&mut kept);
        }
        if !quoted {
            kept.push(line);
        }
        in_quote = quoted || (in_quote && line.trim().is_empty());
    }
    kept
}

fn drop_announcement(kept: &mut Vec<&str>) {
    let end = trimmed_end(kept, kept.len());
    for count in 1..=MAX_ANNOUNCEMENT_LINES.min(end) {
        let text = kept[end - count..end].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let is_whole = text.ends_with([':', '：']) && {
            let text = text.trim_end_matches([':', '：', ' ']).to_lowercase();
            let has_digit = text.contains(|c: char| c.is_ascii_digit());
            has_digit && (has_verb(&text) || text.contains('@'))
        };
        if is_whole {
            kept.truncate(end - count);
            return;
        }
    }
}

/// The signature goes (RFC 3676: below `-- `), and lines that a phone adds.
fn without_signature<'a, 'b>(lines: &'b [&'a str]) -> &'b [&'a str] {
    let dashes = lines.iter().position(|line| *line == "--");
    let is_short = |at: &usize| lines[*at..].iter().filter(|line| !line.is_empty()).count() <= MAX_SIGNATURE_LINES;
    let mut end = trimmed_end(lines, dashes.filter(is_short).unwrap_or(lines.len()));
    while let Some(last) = end.checked_sub(1).filter(|last| is_of_phone(lines[*last])) {
        end = trimmed_end(lines, last);
    }
    &lines[..end]
}

fn is_of_phone(line: &str) -> bool {
    let line = line.trim().trim_matches(['<', '>', '(', ')', '[', ']', '.', '。', '*', '-', ' ']).to_lowercase();
    if line.chars().count() > MAX_MOBILE_CHARS {
        return false;
    }
    let is_named = MOBILE_NAMES.iter().any(|name| line.contains(name));
    MOBILE_BEGINS.iter().any(|begin| line.starts_with(begin))
        || is_named && MOBILE_ENDS.iter().any(|end| line.ends_with(end) || line.starts_with(end))
}

/// Without empty lines at both ends, and never two of them.
fn joined(lines: &[&str]) -> String {
    let mut out = String::new();
    let mut blank = false;
    for line in lines.iter().map(|line| line.trim_end()) {
        if line.is_empty() {
            blank = !out.is_empty();
            continue;
        }
        if !out.is_empty() {
            out.push_str(if blank { "\n\n" } else { "\n" });
        }
        out.push_str(line);
        blank = false;
    }
    out
}
