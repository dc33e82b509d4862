//! The fonts that are built in, for both renderers alike.

use std::sync::LazyLock;

use ttf_parser::Face;

/// File name and content of every font, in the order in which they are asked for a character.
pub(crate) const FONTS: [(&str, &[u8]); 10] = [
    (
        "NotoSans-Regular.ttf",
        include_bytes!("../../fonts/NotoSans-Regular.ttf"),
    ),
    (
        "NotoSans-Bold.ttf",
        include_bytes!("../../fonts/NotoSans-Bold.ttf"),
    ),
    (
        "NotoSansArabic-Regular.ttf",
        include_bytes!("../../fonts/NotoSansArabic-Regular.ttf"),
    ),
    (
        "NotoSansHebrew-Regular.ttf",
        include_bytes!("../../fonts/NotoSansHebrew-Regular.ttf"),
    ),
    (
        "NotoSansThai-Regular.ttf",
        include_bytes!("../../fonts/NotoSansThai-Regular.ttf"),
    ),
    (
        "NotoSansDevanagari-Regular.ttf",
        include_bytes!("../../fonts/NotoSansDevanagari-Regular.ttf"),
    ),
    (
        "NotoSansArmenian-Regular.ttf",
        include_bytes!("../../fonts/NotoSansArmenian-Regular.ttf"),
    ),
    (
        "NotoSansGeorgian-Regular.ttf",
        include_bytes!("../../fonts/NotoSansGeorgian-Regular.ttf"),
    ),
    (
        "DroidSansFallbackFull.ttf",
        include_bytes!("../../fonts/DroidSansFallbackFull.ttf"),
    ),
    (
        "NanumGothic.ttf",
        include_bytes!("../../fonts/NanumGothic.ttf"),
    ),
];

static FACES: LazyLock<Vec<Face<'static>>> = LazyLock::new(|| {
    let parse = |(name, bytes): &(&str, &'static [u8])| {
        Face::parse(bytes, 0).unwrap_or_else(|error| panic!("the built-in font {name}: {error}"))
    };
    FONTS.iter().map(parse).collect()
});

/// What stands for a character that no font has.
const MISSING: char = '?';

/// The text with every character replaced that no font has. A renderer would leave it out, and the
/// reader would never know.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if has(c) { c } else { MISSING })
        .collect()
}

fn has(c: char) -> bool {
    // Characters without a shape of their own need none: joiners, variation selectors, blanks.
    c == '\n'
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{FE00}'..='\u{FE0F}')
        || FACES.iter().any(|face| face.glyph_index(c).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_of_customers_are_covered() {
        for text in [
            "Müller & Söhne, Žilina, Łódź, İstanbul",
            "ООО «Ромашка»",
            "Ο Κήπος Α.Ε.",
            "شركة السحاب",
            "חברת הענן",
            "บริษัท คลาวด์",
            "株式会社クラウド",
            "云计算有限公司",
            "클라우드 주식회사",
            "क्लाउड कंपनी",
            "€ £ ¥ – · • 1\u{202F}234,56\u{A0}%",
        ] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn what_no_font_has_is_seen_to_be_missing() {
        assert_eq!(printable("a\u{1F600}b"), "a?b");
    }
}
