//! GSM 03.38: the alphabet that packs 160 characters into one part, and what looks like it.

/// Septets of a character: 1 = basic, 2 = behind an escape, 0 = not of the alphabet.
pub(super) fn septets(c: char) -> u8 {
    match ASCII.get(c as usize) {
        Some(septets) => *septets,
        None => beyond_ascii(c),
    }
}

/// By code point. `@` and `$` and `_` have other places in GSM, and `` ` `` has none.
const ASCII: [u8; 128] = {
    let mut table = [0; 128];
    let mut c = 0;
    while c < 128 {
        table[c] = match c as u8 {
            b'\n' | b'\r' => 1,
            b'^' | b'{' | b'}' | b'\\' | b'[' | b'~' | b']' | b'|' | 0x0c => 2,
            b'`' | 0x7f => 0,
            b' '..=b'~' => 1,
            _ => 0,
        };
        c += 1;
    }
    table
};

fn beyond_ascii(c: char) -> u8 {
    match c {
        '£' | '¥' | 'è' | 'é' | 'ù' | 'ì' | 'ò' | 'Ç' | 'Ø' | 'ø' | 'Å' | 'å' | 'Δ' | 'Φ' | 'Γ' | 'Λ' | 'Ω' | 'Π'
        | 'Ψ' | 'Σ' | 'Θ' | 'Ξ' | 'Æ' | 'æ' | 'ß' | 'É' | '¤' | '¡' | 'Ä' | 'Ö' | 'Ñ' | 'Ü' | '§' | '¿' | 'ä' | 'ö'
        | 'ñ' | 'ü' | 'à' => 1,
        '€' => 2,
        _ => 0,
    }
}

/// What stands for a character without changing what is read: typographic marks, spaces, what cannot be seen.
pub(super) fn look_alike(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}' | '\u{2032}' | '\u{02bc}' | '\u{2039}' | '\u{203a}' | '`'
        | '\u{00b4}' => "'",
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{201f}' | '\u{2033}' | '\u{00ab}' | '\u{00bb}' => "\"",
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{2043}' => "-",
        '\u{2026}' => "...",
        '\t' | '\u{00a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => " ",
        '\u{2028}' | '\u{2029}' | '\u{0085}' => "\n",
        '\u{2022}' | '\u{2023}' | '\u{00b7}' => "*",
        '\u{00ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{fe0e}' | '\u{fe0f}' => "",
        _ => return None,
    })
}
