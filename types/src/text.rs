//! Text that programs show to people.

/// Returns true if a character changes nothing else on a screen: it is neither a control character nor a line separator,
/// and does not change the direction in which the text around it is shown. With such marks, a text could look like
/// another one.
pub fn is_plain(c: char) -> bool {
    let is_mark = matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !is_mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_all_languages_is_plain_and_what_moves_it_is_not() {
        assert!("ask first: é, 先に聞く, שאל קודם, 👩\u{200D}💻".chars().all(is_plain));
        for c in ['\n', '\u{1b}', '\u{7f}', '\u{85}', '\u{2028}', '\u{202E}', '\u{2066}', '\u{200F}', '\u{61C}'] {
            assert!(!is_plain(c), "{c:?}");
        }
    }
}
