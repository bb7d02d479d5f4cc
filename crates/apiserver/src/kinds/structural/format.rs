//! The formats of texts and numbers that are looked at (`kube-openapi/pkg/validation/strfmt`); others are hints.

use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use serde_json::Value;

/// A known format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Byte,
    Cidr,
    Date,
    DateTime,
    Duration,
    Email,
    Hostname,
    Int32,
    Int64,
    Ipv4,
    Ipv6,
    Mac,
    Uri,
    /// Any version, or the one given.
    Uuid(Option<char>),
}

impl Format {
    /// `None` for a format that nobody looks at.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "byte" => Self::Byte,
            "cidr" => Self::Cidr,
            "date" => Self::Date,
            "date-time" | "datetime" => Self::DateTime,
            "duration" => Self::Duration,
            "email" => Self::Email,
            "hostname" => Self::Hostname,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "mac" => Self::Mac,
            "uri" => Self::Uri,
            "uuid" => Self::Uuid(None),
            "uuid3" => Self::Uuid(Some('3')),
            "uuid4" => Self::Uuid(Some('4')),
            "uuid5" => Self::Uuid(Some('5')),
            _ => return None,
        })
    }

    /// As messages name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Byte => "byte",
            Self::Cidr => "cidr",
            Self::Date => "date",
            Self::DateTime => "date-time",
            Self::Duration => "duration",
            Self::Email => "email",
            Self::Hostname => "hostname",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Mac => "mac",
            Self::Uri => "uri",
            Self::Uuid(None) => "uuid",
            Self::Uuid(Some('3')) => "uuid3",
            Self::Uuid(Some('4')) => "uuid4",
            Self::Uuid(Some(_)) => "uuid5",
        }
    }

    /// Whether the value has the format; values of other JSON types than the format's have.
    pub(super) fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Int32, Value::Number(number)) => {
                number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
                    || number.as_f64().is_some_and(|number| number.abs() <= f64::from(i32::MAX))
            }
            (Self::Int64, Value::Number(number)) => !number.is_u64() || number.is_i64(),
            (Self::Int32 | Self::Int64, _) => true,
            (_, Value::String(text)) => self.fits_text(text),
            _ => true,
        }
    }

    fn fits_text(self, text: &str) -> bool {
        match self {
            Self::Byte => is_base64(text),
            Self::Cidr => {
                text.split_once('/').is_some_and(|(address, _)| !address.is_empty())
                    && text.parse::<ipnet::IpNet>().is_ok()
            }
            Self::Date => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
            Self::DateTime => is_date_time(text),
            Self::Duration => is_duration(text),
            Self::Email => {
                text.rsplit_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
                    && !text.contains(char::is_whitespace)
            }
            Self::Hostname => is_hostname(text),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Mac => is_mac(text),
            Self::Uri => {
                text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() || text.starts_with('/'))
            }
            Self::Uuid(version) => is_uuid(text, version),
            Self::Int32 | Self::Int64 => true,
        }
    }
}

/// RFC 3339, seconds or parts of them.
pub(in crate::kinds) fn is_date_time(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

/// Go's `time.ParseDuration`, and words (`3 days`).
fn is_duration(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    if text == "0" {
        return true;
    }
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        if number.parse::<f64>().is_err() {
            return false;
        }
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let known = [
            "ns", "nano", "us", "µs", "μs", "micro", "ms", "milli", "s", "sec", "second", "seconds", "m",
            "min", "minute", "minutes", "h", "hr", "hour", "hours", "d", "day", "days", "w", "wk", "week",
            "weeks",
        ];
        if !known.contains(&unit) {
            return false;
        }
        rest = tail.trim_start();
    }
    !text.is_empty()
}

fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        let alphanumeric = |c: char| c.is_alphanumeric();
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| alphanumeric(c) || c == '-' || c == '_')
            && label.starts_with(alphanumeric)
            && label.ends_with(alphanumeric)
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

fn is_mac(text: &str) -> bool {
    let pairs = |divider: char| {
        let parts: Vec<&str> = text.split(divider).collect();
        matches!(parts.len(), 6 | 8 | 20)
            && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    pairs(':') || pairs('-')
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    hex.len() == 32
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        && version.is_none_or(|version| hex.chars().nth(12) == Some(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_take_what_kubernetes_takes() {
        let cases = [
            ("date-time", "2026-11-21T12:00:00Z", "yesterday"),
            ("date", "2026-11-21", "2026-13-01"),
            ("duration", "1h30m", "1 parsec"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "2001:db8::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("mac", "00:11:22:33:44:55", "00:11"),
            ("hostname", "a.example.com", "-a"),
            ("email", "a@example.com", "example.com"),
            ("uri", "https://example.com/a", "no uri"),
            ("byte", "aGk=", "%"),
            ("uuid", "b2f5ff47-436b-4d6e-8a9f-5f4a7e2f3c1d", "b2f5"),
            ("uuid4", "b2f5ff47-436b-4d6e-8a9f-5f4a7e2f3c1d", "b2f5ff47-436b-5d6e-8a9f-5f4a7e2f3c1d"),
        ];
        for (name, good, bad) in cases {
            let format = Format::parse(name).unwrap();
            assert_eq!(format.name(), name);
            assert!(format.fits(&good.into()), "{good} is a {name}");
            assert!(!format.fits(&bad.into()), "{bad} is no {name}");
        }
        assert!(Format::Int32.fits(&5.into()) && !Format::Int32.fits(&3_000_000_000_u64.into()));
        assert!(!Format::Int64.fits(&u64::MAX.into()));
        assert_eq!(Format::parse("creditcard"), None);
    }
}
