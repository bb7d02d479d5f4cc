//! Query strings.

use crate::status::Status;

/// The parameters of a request, decoded.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `a=b&c=d`, `application/x-www-form-urlencoded`.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode_with(key, true), decode_with(value, true))
                })
                .collect(),
        )
    }

    /// The first value of a parameter; empty when it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A switch: `1`, `true`, … as Go's `strconv.ParseBool` reads it; a parameter without a value is on.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Status> {
        let Some((_, value)) = self.0.iter().find(|(key, _)| key == name) else { return Ok(None) };
        match value.as_str() {
            "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
            other => {
                Err(Status::bad_request(format!("{name}: invalid value {other:?}: must be true or false")))
            }
        }
    }

    /// A number that is not negative; `None` when the parameter is missing or empty.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Status> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Status::bad_request(format!(
                    "{name}: invalid value {text:?}: must be a number that is not negative"
                ))
            }),
        }
    }
}

/// Resolves `%41` in a path. What is not valid stays as it is.
pub fn decode(text: &str) -> String {
    decode_with(text, false)
}

fn decode_with(text: &str, plus: bool) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits fit a byte.
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) if plus => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        let query = Query::parse("labelSelector=app%3Dweb%2Ctier+in+%28a%29&watch&x=%zz&limit=5");
        assert_eq!(query.text("labelSelector"), "app=web,tier in (a)");
        assert_eq!(query.flag("watch").unwrap(), Some(true));
        assert_eq!(query.flag("other").unwrap(), None);
        assert_eq!(query.text("x"), "%zz");
        assert_eq!(query.number("limit").unwrap(), Some(5));
        assert_eq!(query.number("x").unwrap_err().code, 400);
        assert_eq!(decode("a%"), "a%");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_decoded(text in "[%0-9a-f&=+]{0,24}|\\PC{0,24}") {
            _ = decode(&text);
            _ = Query::parse(&text).number("a");
        }
    }
}
