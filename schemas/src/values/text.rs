//! Texts: names, codes, references and addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{InvalidValue, text_value};

/// A stable identifier in the catalogue (`cloud-server`, `s`, `eu-central`): 1 to 63 characters
/// `a-z`, `0-9` and `-`, beginning and ending with a letter or digit.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
pub struct Code(String);
text_value!(Code);

impl Code {
    fn check(text: &str) -> Result<String, InvalidValue> {
        label(text, 63)
    }
}

/// The name of a resource at the provider: a host name label (RFC 1123) of at most 58 characters,
/// so that `-` and a number fit behind it when one order asks for several.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z0-9]([a-z0-9-]{0,56}[a-z0-9])?$"))]
pub struct ResourceName(String);
text_value!(ResourceName);

impl ResourceName {
    fn check(text: &str) -> Result<String, InvalidValue> {
        label(text, 58)
    }
}

fn label(text: &str, most: usize) -> Result<String, InvalidValue> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() > most
        || !text.chars().all(inner)
        || !edge(text.chars().next())
        || !edge(text.chars().last())
    {
        return Err(InvalidValue::new(format!(
            "must be 1 to {most} characters a-z, 0-9 and -, beginning and ending with a letter or digit"
        )));
    }
    Ok(text.to_owned())
}

/// The name of a person, a business or a place, in any script: 1 to 200 characters after trimming,
/// none of them a control character or one that reorders the text around it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("minLength" = 1, "maxLength" = 200))]
pub struct Name(String);
text_value!(Name);

impl Name {
    fn check(text: &str) -> Result<String, InvalidValue> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > 200 {
            return Err(InvalidValue::new("must be 1 to 200 characters"));
        }
        if text.chars().any(is_unprintable) {
            return Err(InvalidValue::new("must not contain control characters"));
        }
        Ok(text.to_owned())
    }
}

/// What a person writes, in any script and in several lines: 1 to 10,000 characters after trimming,
/// none of them one that a name must not hold, but for line feeds and tabs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("minLength" = 1, "maxLength" = 10_000))]
pub struct Text(String);
text_value!(Text);

impl Text {
    fn check(text: &str) -> Result<String, InvalidValue> {
        let text = text.replace("\r\n", "\n");
        let text = text.trim();
        if text.is_empty() || text.chars().count() > 10_000 {
            return Err(InvalidValue::new("must be 1 to 10,000 characters"));
        }
        if text
            .chars()
            .any(|c| is_unprintable(c) && c != '\n' && c != '\t')
        {
            return Err(InvalidValue::new(
                "must not contain control characters but line feeds and tabs",
            ));
        }
        Ok(text.to_owned())
    }
}

/// The name of a file, in any script: 1 to 150 characters, none of them one that a name must not hold
/// or that separates folders.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("minLength" = 1, "maxLength" = 150))]
pub struct FileName(String);
text_value!(FileName);

impl FileName {
    fn check(text: &str) -> Result<String, InvalidValue> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > 150 {
            return Err(InvalidValue::new("must be 1 to 150 characters"));
        }
        let separates = |c| matches!(c, '/' | '\\' | ':' | '"' | '<' | '>' | '|' | '*' | '?');
        if text.chars().any(|c| is_unprintable(c) || separates(c)) || text.starts_with('.') {
            return Err(InvalidValue::new(
                "must be the name of a file, without a folder: no control characters, none of / \\ : \" < > | * ?, no dot in front",
            ));
        }
        Ok(text.to_owned())
    }
}

/// Characters that a name must not hold: controls break mail headers (RFC 5322 §2.2), line and
/// paragraph separators break layouts, and bidirectional overrides make a text read as another
/// one (Unicode TR 36 §2.5).
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}'
        )
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The caller's own name for a request: 1 to 255 visible ASCII characters. `Idempotency-Key` over
/// HTTP and `external_ref` in messages are this value, in one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[!-~]{1,255}$"))]
pub struct ExternalRef(String);
text_value!(ExternalRef);

impl ExternalRef {
    fn check(text: &str) -> Result<String, InvalidValue> {
        if text.is_empty() || text.len() > 255 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidValue::new(
                "must be 1 to 255 visible ASCII characters",
            ));
        }
        Ok(text.to_owned())
    }
}

/// A mail address (RFC 5321 `Mailbox`), without display name, quoting or address literals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress(String);
text_value!(EmailAddress);

impl EmailAddress {
    fn check(text: &str) -> Result<String, InvalidValue> {
        let options = email_address::Options::default()
            .without_display_text()
            .without_domain_literal()
            .with_required_tld();
        let invalid = || InvalidValue::new("must be a mail address such as name@example.com");
        let address = email_address::EmailAddress::parse_with_options(text, options)
            .map_err(|_| invalid())?;
        if address.local_part().starts_with('"') || text.chars().any(is_unprintable) {
            return Err(invalid());
        }
        Ok(text.to_owned())
    }

    /// The part behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parses<T: std::str::FromStr>(text: &str) -> bool {
        text.parse::<T>().is_ok()
    }

    #[test]
    fn codes_are_lower_case_labels() {
        assert!(parses::<Code>("cloud-server"));
        assert!(parses::<Code>("s"));
        for bad in ["", "-a", "a-", "A", "a_b", "ä", &"a".repeat(64)] {
            assert!(!parses::<Code>(bad), "{bad:?}");
        }
    }

    #[test]
    fn names_take_every_script_and_no_control_character() {
        for good in [
            "Müller & Söhne",
            "株式会社",
            "Ο Κήπος",
            "شركة",
            "  trimmed  ",
        ] {
            assert!(parses::<Name>(good), "{good:?}");
        }
        for bad in ["", "   ", "a\rb", "a\nb", "a\0b", "a\u{202E}b", "\u{2028}"] {
            assert!(!parses::<Name>(bad) || bad.trim() != bad, "{bad:?}");
        }
        assert!(!parses::<Name>(&"x".repeat(201)));
        assert_eq!(
            "  trimmed ".parse::<Name>().map(String::from),
            Ok("trimmed".to_owned())
        );
    }

    #[test]
    fn texts_have_lines_and_no_other_control_character() {
        let text: Text = " two\r\nlines\tand\n\nmore ".parse().unwrap();
        assert_eq!(text.as_str(), "two\nlines\tand\n\nmore");
        for bad in ["", " \r\n ", "a\0b", "a\u{202E}b", "a\rb"] {
            assert!(!parses::<Text>(bad), "{bad:?}");
        }
        assert!(!parses::<Text>(&"x".repeat(10_001)));
    }

    #[test]
    fn names_of_files_name_no_folder() {
        for good in ["error.png", "Fehler 2.log", "ログ.txt", "a.tar.gz"] {
            assert!(parses::<FileName>(good), "{good:?}");
        }
        let long = "x".repeat(151);
        for bad in [
            "",
            " ",
            ".",
            "..",
            ".htaccess",
            "../a",
            "a/b",
            "a\\b",
            "C:a",
            "a\r\nb",
            "a\"b",
            "a\u{202E}gpj.exe",
            &long,
        ] {
            assert!(!parses::<FileName>(bad), "{bad:?}");
        }
    }

    #[test]
    fn mail_addresses_are_plain() {
        assert!(parses::<EmailAddress>("billing@example.com"));
        assert!(parses::<EmailAddress>("büro@müller.example"));
        for bad in [
            "",
            "a",
            "a@b",
            "a@b@c.example",
            "Name <a@b.example>",
            "a@b.example\r\nBcc: c@d.example",
            "\"a b\"@c.example",
            "a@[127.0.0.1]",
        ] {
            assert!(!parses::<EmailAddress>(bad), "{bad:?}");
        }
    }
}
