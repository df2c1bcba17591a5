//! Text that programs show to people.

use crate::wire::DecodeError;

/// Returns true if a character changes nothing else on a screen: it is neither a control character nor a line separator,
/// and does not change the direction in which the text around it is shown. With such marks, a text could look like
/// another one.
pub fn is_plain(c: char) -> bool {
    let is_mark = matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !is_mark
}

/// Checks that a text is short and plain.
///
/// Errors: `Field` with the number of bytes, or with what is not plain.
pub(crate) fn plain(field: &'static str, text: String, bytes_max: usize) -> Result<String, DecodeError> {
    if text.len() > bytes_max {
        return Err(DecodeError::field(field, format!("{} bytes, at most {bytes_max} are allowed", text.len())));
    }
    if !text.chars().all(is_plain) {
        return Err(DecodeError::field(field, "has control characters, such as line breaks or marks of direction"));
    }
    Ok(text)
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
