//! Colours of a company, and what can be read on them.

/// A colour of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color {
    red: u8,
    green: u8,
    blue: u8,
}

/// White, as a page and as letters.
pub const WHITE: Color = Color { red: 255, green: 255, blue: 255 };
/// Letters on what is too bright for white ones.
pub const BLACK: Color = Color { red: 0, green: 0, blue: 0 };
/// What a button needs to stand out from its page (WCAG 2.2, 1.4.11).
pub const MIN_CONTRAST: f64 = 3.0;
const STEP: u8 = 15;

impl Color {
    /// `#rrggbb`.
    pub fn parse(text: &str) -> Option<Color> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii())?;
        let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| Some(Color { red: part(0)?, green: part(2)?, blue: part(4)? })).flatten()
    }

    /// How well one is told from the other (WCAG 2.2): 1 to 21.
    pub fn contrast(self, other: Color) -> f64 {
        let (mine, theirs) = (self.luminance(), other.luminance());
        (mine.max(theirs) + 0.05) / (mine.min(theirs) + 0.05)
    }

    /// The colour of letters that are read best on it: white or black.
    pub fn letters(self) -> Color {
        if self.contrast(WHITE) >= self.contrast(BLACK) { WHITE } else { BLACK }
    }

    /// The nearest lighter one that stands out from a dark page.
    pub fn on_dark(self, page: Color) -> Color {
        let mut color = self;
        while color.contrast(page) < MIN_CONTRAST && color != WHITE {
            let lighter = |part: u8| part.saturating_add(STEP);
            color = Color { red: lighter(color.red), green: lighter(color.green), blue: lighter(color.blue) };
        }
        color
    }

    fn luminance(self) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(self.red) + 0.7152 * linear(self.green) + 0.0722 * linear(self.blue)
    }
}

impl std::fmt::Display for Color {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn color(text: &str) -> Color {
        Color::parse(text).unwrap()
    }

    #[test]
    fn a_color_is_a_hash_and_six_digits() {
        assert_eq!(color("#2F6fed").to_string(), "#2f6fed");
        for wrong in ["", "2f6fed", "#2f6fe", "#2f6fedd", "#2f6feg", "#+f6fed", "red", "#é6fed"] {
            assert_eq!(Color::parse(wrong), None, "{wrong}");
        }
    }

    /// E1: values of the specification, and both sides of what stands out from white.
    #[test]
    fn e1_contrast_is_as_wcag_counts_it() {
        assert!((WHITE.contrast(BLACK) - 21.0).abs() < 1e-9);
        assert!((color("#777777").contrast(WHITE) - 4.48).abs() < 0.01);
        assert!(color("#949494").contrast(WHITE) >= MIN_CONTRAST);
        assert!(color("#959595").contrast(WHITE) < MIN_CONTRAST);
    }

    /// E1: whatever the company's colour, the letters on its button can be read.
    #[test]
    fn e1_letters_can_be_read_on_any_color() {
        let dark = color("#1f2226");
        for red in (0..=255).step_by(17) {
            for green in (0..=255).step_by(17) {
                for blue in (0..=255).step_by(51) {
                    let color = Color { red, green, blue };
                    assert!(color.contrast(color.letters()) >= 4.5, "{color}");
                    assert!(color.on_dark(dark).contrast(dark) >= MIN_CONTRAST, "{color}");
                }
            }
        }
    }
}
