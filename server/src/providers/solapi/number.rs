//! Korean numbers as Solapi writes them: nationally, beside the calling code.

/// The calling code.
pub(super) const KOREA: &str = "82";

/// `+821012345678` as `01012345678`. Eight digits that begin with 1 are a company's number (`15881234`) and have no 0.
pub(super) fn national(e164: &str) -> Option<String> {
    let rest = e164.strip_prefix('+')?.strip_prefix(KOREA)?;
    let digits = rest.bytes().all(|byte| byte.is_ascii_digit());
    match rest.len() {
        8 if digits && rest.starts_with('1') => Some(rest.to_owned()),
        7..=11 if digits && !rest.starts_with('0') => Some(format!("0{rest}")),
        _ => None,
    }
}

/// The reverse of [`national`]; hyphens are left out.
pub(super) fn e164(national: &str) -> Option<String> {
    let digits: String = national.chars().filter(|c| *c != '-').collect();
    let rest = match digits.strip_prefix('0') {
        Some(rest) => rest,
        None => digits.as_str(),
    };
    let e164 = format!("+{KOREA}{rest}");
    (self::national(&e164)? == digits).then_some(e164)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_national() {
        for (given, written) in
            [("+821012345678", "01012345678"), ("+82212345678", "0212345678"), ("+8215881234", "15881234")]
        {
            assert_eq!(national(given).as_deref(), Some(written));
            assert_eq!(e164(written).as_deref(), Some(given));
        }
        assert_eq!(e164("02-1234-5678").as_deref(), Some("+82212345678"));
        for strange in ["", "+82", "+1 202", "+12025550123", "+82010", "+8201012345678", "+82x012345678", "82101234567"]
        {
            assert_eq!(national(strange), None, "{strange}");
        }
        for strange in ["", "1012345678", "+821012345678", "010 1234", "02.123"] {
            assert_eq!(e164(strange), None, "{strange}");
        }
    }
}
