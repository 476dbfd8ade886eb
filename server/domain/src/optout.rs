//! Words by which somebody opts out of texts, and back in (T7).

/// What such a text asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// No text any more.
    Out,
    /// Texts again.
    In,
}

/// Taken everywhere: what carriers and gateways take, too.
const OUT: &[&str] =
    &["stop", "stopall", "stop all", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "opt out", "opt-out"];
const IN: &[&str] = &["start", "unstop"];

/// By the calling code of whoever writes: those that gateways leave to us.
const OUT_BY_COUNTRY: &[(&[&str], &[&str])] = &[
    (&["+33", "+32", "+41", "+352", "+1"], &["arret", "arrêt", "arreter", "arrêter", "désabonner", "desabonner"]),
    (&["+49", "+43", "+41"], &["stopp", "abmelden", "abbestellen"]),
    (&["+34", "+52", "+54", "+56", "+57", "+51", "+1"], &["parar", "alto", "baja", "cancelar"]),
    (&["+351", "+55"], &["parar", "sair", "cancelar"]),
    (&["+39", "+41"], &["ferma", "annulla", "cancella"]),
    (&["+31", "+32"], &["afmelden", "stoppen"]),
    (&["+45", "+46", "+47"], &["stopp", "afmeld", "avsluta", "avslutt"]),
    (&["+48"], &["rezygnuje", "rezygnuję"]),
    (&["+82"], &["수신거부", "수신 거부", "거부", "차단"]),
    (&["+66"], &["หยุด", "ยกเลิก"]),
    (&["+81"], &["停止", "配信停止", "解除"]),
    (&["+86", "+852", "+853", "+886"], &["退订", "退訂", "取消订阅", "取消訂閱", "td", "t"]),
];

/// What this text asks for, if that is all it says: a word within a sentence is meant for the company. `from` is E.164.
pub fn wish(from: &str, text: &str) -> Option<Wish> {
    let said = text.trim().trim_matches(|c: char| c.is_ascii_punctuation() || "。！「」".contains(c)).trim();
    // The longest word is far shorter, whatever somebody sends.
    if said.is_empty() || said.chars().count() > 20 {
        return None;
    }
    let said = said.to_lowercase();
    if IN.contains(&said.as_str()) {
        return Some(Wish::In);
    }
    let local = OUT_BY_COUNTRY.iter().filter(|(codes, _)| codes.iter().any(|code| from.starts_with(code)));
    let is_out = OUT.contains(&said.as_str()) || local.flat_map(|(_, words)| *words).any(|word| *word == said);
    is_out.then_some(Wish::Out)
}

/// Where LINE's accounts are.
const LINE_CODES: [&str; 3] = ["+81", "+66", "+886"];

/// The same of a message on LINE, whose user has no number: in the words of LINE's countries.
pub fn wish_on_line(text: &str) -> Option<Wish> {
    // T and TD are for whoever pays for each text: in a chat, letters answer a question.
    let is_letters = text.trim().len() <= 2;
    LINE_CODES.into_iter().find_map(|code| wish(code, text)).filter(|_| !is_letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T7: the words, however they are written, and nothing but the words.
    #[test]
    fn stop_and_its_kin_are_understood() {
        let us = |text| wish("+14155550123", text);
        for out in [
            "STOP",
            "stop",
            " Stop. ",
            "STOP!",
            "\"stop\"",
            "StopAll",
            "stop all",
            "UNSUBSCRIBE",
            "Cancel",
            "end",
            "QUIT",
            "Revoke",
            "OPTOUT",
            "opt out",
            "Opt-Out",
            "arrêt",
            "ARRÊT",
        ] {
            assert_eq!(us(out), Some(Wish::Out), "{out}");
        }
        for back in ["START", "start", "unstop", "UNSTOP."] {
            assert_eq!(us(back), Some(Wish::In), "{back}");
        }
        for neither in [
            "",
            "   ",
            "!!!",
            "stop please",
            "please stop",
            "I cannot stop laughing",
            "yes",
            "help",
            "no",
            "ends",
            "停止",
        ] {
            assert_eq!(us(neither), None, "{neither}");
        }
    }

    /// T7: by country.
    #[test]
    fn each_country_has_its_own() {
        assert_eq!(wish("+821012345678", "수신거부"), Some(Wish::Out));
        assert_eq!(wish("+819012345678", "停止。"), Some(Wish::Out));
        assert_eq!(wish("+4915112345678", "Abmelden"), Some(Wish::Out));
        assert_eq!(wish("+8613800000000", "TD"), Some(Wish::Out));
        assert_eq!(wish("+4915112345678", "수신거부"), None);
        assert_eq!(wish("+14155550123", &"stop ".repeat(1_000)), None);
    }

    /// T7: on LINE nobody has a number to tell a country by.
    #[test]
    fn t7_line_has_the_words_of_its_countries() {
        for out in ["配信停止", "停止。", "退訂", "ยกเลิก", "stop", "Unsubscribe"] {
            assert_eq!(wish_on_line(out), Some(Wish::Out), "{out}");
        }
        assert_eq!(wish_on_line("START"), Some(Wish::In));
        for neither in ["수신거부", "t", "TD", "配信停止ですか", "", "no"] {
            assert_eq!(wish_on_line(neither), None, "{neither}");
        }
    }
}
